"""pytest test_model.py: the model against Hugging Face modules, and its own invariants."""

from __future__ import annotations

import torch
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

from config import Config, VisionConfig
from model import IMAGE_ID, LlavaMini


def small_model(**changes) -> LlavaMini:
    torch.manual_seed(0)
    vision = VisionConfig(hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=2)
    config = Config(
        vocab_size=50, bos_token_id=44, eos_token_id=[45, 48, 49], hidden_size=32, intermediate_size=48,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, mm_hidden_size=64,
        prefusion_layer_num=2, vision_config=vision, **changes,
    )  # fmt: skip
    model = LlavaMini(config).eval()
    model.initialise()
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, std=0.2) if "norm" not in name else None
    return model


def random_pixels(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, 3, 336, 336)


PROMPT = torch.tensor([[[44, 44, 5, 9, IMAGE_ID, 7, 0, 30, 12, 46]]])  # with the ignored real token 0
LENGTH = torch.tensor([[10]])


@torch.no_grad()
def test_clip_matches_transformers():
    model = small_model()
    ours = model.model.vision_tower["vision_tower"]["vision_model"]
    config = CLIPVisionConfig(
        hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=2, image_size=336, patch_size=14
    )
    theirs = CLIPVisionModel(config).eval()
    state = {name: tensor for name, tensor in ours.state_dict().items()}
    target = getattr(theirs, "vision_model", theirs)
    target.load_state_dict(state, strict=True)
    pixels = random_pixels(2)
    expected = theirs(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
    torch.testing.assert_close(ours(pixels), expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_llama_matches_transformers():
    model = small_model()
    c = model.config
    theirs = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=c.vocab_size, hidden_size=c.hidden_size, intermediate_size=c.intermediate_size,
            num_hidden_layers=c.num_hidden_layers, num_attention_heads=c.num_attention_heads,
            num_key_value_heads=c.num_key_value_heads, rms_norm_eps=c.rms_norm_eps,
            max_position_embeddings=c.max_position_embeddings, tie_word_embeddings=False,
            rope_parameters={**c.rope_scaling, "rope_theta": c.rope_theta},
        )
    ).eval()  # fmt: skip
    llm = ("model.embed_tokens", "model.layers", "model.norm", "lm_head")
    theirs.load_state_dict({k: v for k, v in model.state_dict().items() if k.startswith(llm)}, strict=True)
    ids = torch.randint(1, 44, (1, 2, 300))
    ours = model(None, ids, torch.full((1, 2), 300))
    torch.testing.assert_close(ours[0], theirs(ids[0]).logits, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_fusing_in_two_steps_equals_the_whole_concatenation():
    """`encode` + `fuse` against the pre-fusion blocks over (visual rows, text) with a key mask."""
    model = small_model()
    projected = []
    model.model.mm_projector.register_forward_hook(lambda *call: projected.append(call[-1][0]))
    for parts in (1, 5):
        visual = model.encode(random_pixels(1, 1, parts))
        fused = model.fuse(visual, PROMPT)[0, 0]
        ids = PROMPT[0, 0]
        plain = model.model.embed_tokens(ids.clamp(min=0))
        rows = torch.cat((projected[-1], plain))
        real = torch.cat((torch.ones(len(projected[-1]), dtype=torch.bool), ids > 0))
        mask = (torch.ones(len(real), len(real), dtype=torch.bool).tril() & real) | torch.eye(len(real), dtype=torch.bool)
        cos, sin = model.rope((real.long().cumsum(0) - 1)[None])
        x = rows[None]
        for block in model.model.prefusion_layers:
            q, k, v = block.before_attention(x, cos, sin)
            k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
            out = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            x = block.after_attention(x, out.transpose(1, 2).flatten(2))
        expected = torch.where((ids > 0)[:, None], x[0, -len(ids) :], plain)
        torch.testing.assert_close(fused, expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(visual.tokens[0, 0], x[0, -len(ids) - 1], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_video_is_the_mean_of_its_frames():
    model = small_model()
    pixels = random_pixels(1, 3, 1)
    visual = model.encode(pixels)
    single = [model.encode(pixels[:, t : t + 1]) for t in range(3)]
    fused = torch.stack([model.fuse(frame, PROMPT) for frame in single]).mean(0)
    torch.testing.assert_close(model.fuse(visual, PROMPT), fused, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(visual.tokens, torch.cat([frame.tokens for frame in single], 1), atol=1e-5, rtol=1e-5)
    embedded = model.embed(visual, PROMPT, LENGTH)[0, 0]
    assert embedded.shape[0] == PROMPT.shape[-1] + 2
    torch.testing.assert_close(embedded[4:7], visual.tokens[0])
    torch.testing.assert_close(embedded[7:], fused[0, 0, 5:], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(embedded[8], model.model.embed_tokens.weight[0])  # id 0 stays plain


@torch.no_grad()
def test_padding_and_batching_change_nothing():
    model = small_model()
    pixels = random_pixels(2, 2, 1)
    short = torch.tensor([44, 44, 5, 9, IMAGE_ID, 7, 46, 0, 0, 0])
    ids = torch.stack((PROMPT[0, 0], short)).expand(2, 2, 10)
    lengths = torch.tensor([[10, 7], [10, 7]])
    together = model.generate(pixels, ids, lengths, 6)
    for b in range(2):
        assert model.generate(pixels[b : b + 1], PROMPT, LENGTH, 6)[0][0] == together[b][0]
        alone = model.generate(pixels[b : b + 1], short[None, None, :7], torch.tensor([[7]]), 6)
        assert alone[0][0] == together[b][1]


@torch.no_grad()
def test_training_pass_equals_generation():
    """Teacher-forced logits give the tokens that generation gives: answers enter as plain embeddings."""
    model = small_model()
    pixels = random_pixels(1, 1, 1)
    answer = model.generate(pixels, PROMPT, LENGTH, 5)[0][0]
    ids = torch.cat((PROMPT, torch.tensor(answer)[None, None]), 2)
    logits = model(model.encode(pixels), ids, LENGTH)[0, 0]
    assert logits[9 : 9 + len(answer)].argmax(-1).tolist() == answer
