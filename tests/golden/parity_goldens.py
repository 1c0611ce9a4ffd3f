"""Writes tests/golden/parity/: small random LLaVA-Mini checkpoints and what Hugging Face's own CLIP and LLaMA modules make of them.

    python parity_goldens.py parity            (needs torch, transformers, safetensors)

Nothing here shares code or shortcuts with the server: CLIP is CLIPVisionModel with all its blocks, the compressor is
torch.nn.MultiheadAttention, pre-fusion is LlamaDecoderLayer over the whole concatenation under one explicit mask, the language
model is LlamaForCausalLM on embeddings without a cache. Each folder holds a checkpoint in the published layout and goldens.safetensors,
whose metadata lists the cases.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRotaryEmbedding

IMAGE_ID = -200
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
NEW_TOKENS = 40

BASE = {
    "model_type": "llava_mini_llama", "hidden_act": "silu", "attention_bias": False, "mlp_bias": False,
    "vocab_size": 96, "bos_token_id": 90, "eos_token_id": [91, 94, 95], "hidden_size": 32, "intermediate_size": 56,
    "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5,
    "max_position_embeddings": 2048, "tokenizer_model_max_length": 1024, "mm_vision_tower": "clip-tiny",
    "mm_vision_select_layer": -2, "mm_vision_select_feature": "patch", "mm_projector_type": "mlp2x_gelu",
    "mm_hidden_size": 32, "compressor_size": 1, "prefusion_layer_num": 2, "resolution_ratio": 1,
    "image_aspect_ratio": "pad", "mm_use_im_start_end": False, "mm_use_im_patch_token": False,
    "vision_config": {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 56,
        "patch_size": 14, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
    },
}  # fmt: skip

# name: (changes of the config, how it is stored)
CONFIGS: dict[str, tuple[dict, dict]] = {
    "grouped": ({"rope_theta": 500000.0, "rope_scaling": {"rope_type": "llama3", **LLAMA3}}, {}),
    "ungrouped-plain-rope": ({"rope_theta": 10000.0, "num_key_value_heads": 4}, {"shards": 3}),
    "high-resolution": (
        {"resolution_ratio": 2, "rope_parameters": {"rope_theta": 500000.0, "rope_type": "llama3", **LLAMA3}}, {}),
    "four-tokens": ({"compressor_size": 2, "rope_theta": 10000.0, "prefusion_layer_num": 1}, {"dtype": torch.bfloat16}),
    "four-tokens-high-resolution": (
        {"compressor_size": 2, "resolution_ratio": 2, "rope_theta": 10000.0, "rope_scaling": None}, {"tied": True}),
    "tower-apart": (
        {"rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}, "mm_vision_select_layer": -1},
        {"dtype": torch.float16, "tower": True}),
}  # fmt: skip


class NearlyEqual(Exception):
    """Two tokens are so nearly equal that the order of additions decides: another seed is needed."""


class Reference:
    """LLaVA-Mini put together from Hugging Face's modules, as the published inference code does."""

    def __init__(self, raw: dict, tied: bool):
        self.raw = raw
        vision = raw["vision_config"]
        self.clip = CLIPVisionModel(CLIPVisionConfig(**vision)).eval()
        rope = raw.get("rope_parameters")
        if rope is None:
            scaling = raw.get("rope_scaling")
            rope = {"rope_theta": raw["rope_theta"], **(scaling or {"rope_type": "default"})}
        keys = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                "num_key_value_heads", "rms_norm_eps", "max_position_embeddings")  # fmt: skip
        config = LlamaConfig(**{k: raw[k] for k in keys}, rope_parameters=rope, tie_word_embeddings=tied)
        config._attn_implementation = "eager"
        self.llm = LlamaForCausalLM(config).eval()
        self.prefusion = nn.ModuleList(LlamaDecoderLayer(config, i) for i in range(raw["prefusion_layer_num"])).eval()
        self.rotary = LlamaRotaryEmbedding(config)
        width, tokens = vision["hidden_size"], raw["compressor_size"] ** 2
        self.compressor = nn.ParameterDict({"query": torch.randn(tokens, width), "pos_embed": torch.randn(tokens, width)})
        self.attn = nn.MultiheadAttention(width, 8, batch_first=True)
        self.ln_q, self.ln_kv = nn.LayerNorm(width), nn.LayerNorm(width)
        hidden = raw["hidden_size"]
        self.projector = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden))

    def named_tensors(self) -> dict[str, Tensor]:
        named = dict(self.llm.state_dict())
        parts = {
            "model.prefusion_layers.": self.prefusion, "model.compressor.": self.compressor, "model.compressor.attn.": self.attn,
            "model.compressor.ln_q.": self.ln_q, "model.compressor.ln_kv.": self.ln_kv, "model.mm_projector.": self.projector,
        }  # fmt: skip
        for prefix, module in parts.items():
            named |= {prefix + name: tensor for name, tensor in module.state_dict().items()}
        for name, tensor in self.clip.state_dict().items():
            inner = name if name.startswith("vision_model.") else "vision_model." + name
            if not inner.endswith("position_ids"):
                named["model.vision_tower.vision_tower." + inner] = tensor
        return named

    @torch.no_grad()
    def randomise(self, dtype: torch.dtype) -> None:
        """Weights large enough that every part matters, and exactly representable in the stored dtype."""
        for name, tensor in self.named_tensors().items():
            if "norm" in name or ".ln_" in name:
                value = torch.randn_like(tensor) * 0.2 + (0.0 if name.endswith("bias") else 1.0)
            elif tensor.dim() < 2 or "embed" in name or "query" in name:
                value = torch.randn_like(tensor) * 0.5
            else:
                value = torch.randn_like(tensor) * (1.4 / tensor.flatten(1).shape[1] ** 0.5)
            tensor.copy_(value.to(dtype).float())

    def features(self, parts: Tensor) -> Tensor:
        """uint8 [B, side, side, 3] -> [B, P, Dv]."""
        pixels = ((parts.float() / 255 - MEAN) / STD).permute(0, 3, 1, 2)
        hidden = self.clip(pixels, output_hidden_states=True).hidden_states
        return hidden[self.raw["mm_vision_select_layer"]][:, 1:]

    def compress(self, x: Tensor) -> Tensor:
        side, grid = self.raw["compressor_size"], round(x.shape[1] ** 0.5)
        position = self.compressor["pos_embed"]
        if side == grid:
            key_position = position
        else:
            square = position.float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
            resized = F.interpolate(square, size=(grid, grid), mode="bicubic", align_corners=False)
            key_position = resized.permute(0, 2, 3, 1).flatten(0, 2)
        kv = self.ln_kv(x)
        query = (self.ln_q(self.compressor["query"]) + position).expand(len(x), -1, -1)
        return self.attn(query, kv + key_position, kv, need_weights=False)[0]

    def fuse(self, parts: Tensor, ids: Tensor) -> dict[str, Tensor]:
        """One frame: uint8 [S, side, side, 3], ids [L] -> patches, compressed, vision tokens and fused text."""
        patches = self.features(parts)
        whole = patches[-1:]
        if len(parts) == 1:
            compressed, visual = self.compress(whole), [whole]
        else:
            n, grid = round((len(parts) - 1) ** 0.5), round(patches.shape[1] ** 0.5)
            rows = [torch.cat([patches[i * n + j].unflatten(0, (grid, grid)) for j in range(n)], 1) for i in range(n)]
            tiles = torch.cat(rows, 0).flatten(0, 1)[None]
            compressed, visual = self.compress(tiles), [tiles, whole]
        text = self.llm.model.embed_tokens(ids.clamp(min=0))
        x = torch.cat([*(self.projector(part) for part in visual), self.projector(compressed), text[None]], 1)
        taking_part = torch.cat([torch.ones(x.shape[1] - len(ids), dtype=torch.bool), ids > 0])
        positions = (taking_part.long().cumsum(0) - 1).clamp(min=0)[None]
        length = x.shape[1]
        allowed = torch.ones(length, length, dtype=torch.bool).tril() & taking_part[None]
        allowed |= torch.eye(length, dtype=torch.bool)  # an ignored row must see something; its result is not used
        mask = torch.zeros(1, 1, length, length).masked_fill(~allowed, torch.finfo(torch.float32).min)
        embeddings = self.rotary(x, positions)
        for layer in self.prefusion:
            out = layer(x, attention_mask=mask, position_ids=positions, position_embeddings=embeddings)
            x = out[0] if isinstance(out, tuple) else out
        tokens = x[0, -len(ids) - compressed.shape[1] : -len(ids)]
        fused = torch.where((ids > 0)[:, None], x[0, -len(ids) :], text)
        return {"patches": patches, "compressed": compressed[0], "tokens": tokens, "fused": fused}

    @torch.no_grad()
    def answer(self, frames: Tensor | None, ids: Tensor) -> dict[str, Tensor]:
        """uint8 [T, S, side, side, 3] or None, ids [L] -> the intermediate tensors, and NEW_TOKENS greedy tokens."""
        out: dict[str, Tensor] = {}
        x = self.llm.model.embed_tokens(ids.clamp(min=0))
        if frames is not None:
            each = [self.fuse(frame, ids) for frame in frames]
            out = {name: torch.stack([one[name] for one in each]) for name in each[0]}
            out["fused"] = out["fused"].float().mean(0)
            place = ids.tolist().index(IMAGE_ID)
            x = torch.cat([out["fused"][:place], out["tokens"].flatten(0, 1), out["fused"][place + 1 :]])
        out["input"] = x
        tokens, logprobs = [], []
        for _ in range(NEW_TOKENS):
            logits = self.llm(inputs_embeds=x[None], use_cache=False).logits[0, -1].float()
            token = int(logits.argmax())
            top = logits.topk(2).values
            if top[0] - top[1] < 2e-4:
                raise NearlyEqual
            tokens.append(token)
            logprobs.append(logits.log_softmax(-1)[token])
            x = torch.cat([x, self.llm.model.embed_tokens(torch.tensor([token]))])
        return out | {"greedy": torch.tensor(tokens, dtype=torch.int32), "logprobs": torch.stack(logprobs)}


def save_checkpoint(reference: Reference, folder: Path, how: dict) -> None:
    dtype = how.get("dtype", torch.float32)
    tensors = {name: tensor.detach().to(dtype).contiguous().clone() for name, tensor in reference.named_tensors().items()}
    if how.get("tied"):
        del tensors["lm_head.weight"]
    if how.get("tower"):
        prefix = "model.vision_tower.vision_tower."
        tower = {name.removeprefix(prefix): tensors.pop(name) for name in list(tensors) if name.startswith(prefix)}
        (folder / "tower").mkdir(exist_ok=True)
        save_file(tower, folder / "tower" / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(reference.raw, indent=1) + "\n")
    shards = how.get("shards", 1)
    if shards == 1:
        save_file(tensors, folder / "model.safetensors")
        return
    names, weight_map = sorted(tensors), {}
    for k in range(shards):
        file = f"model-{k + 1:05}-of-{shards:05}.safetensors"
        own = names[k::shards]
        save_file({name: tensors[name] for name in own}, folder / file)
        weight_map |= dict.fromkeys(own, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def prompts(generator: torch.Generator) -> dict[str, tuple[int, list[int]]]:
    """name: (frames, ids). Ids of real length and look: doubled start, an ignored 0, several turns."""

    def some(count: int) -> list[int]:
        return torch.randint(1, 90, (count,), generator=generator).tolist()

    return {
        "image": (1, [90, 90, *some(5), IMAGE_ID, *some(9), 0, *some(4)]),
        "no image": (0, [90, 90, *some(14), 0, *some(3)]),
        "several turns": (1, [90, 90, *some(3), IMAGE_ID, *some(7), 95, *some(6), 95, 92, *some(12)]),
        "video of three frames": (3, [90, 90, IMAGE_ID, *some(10), 0]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for number, (name, (changes, how)) in enumerate(CONFIGS.items()):
        for seed in range(100 * number, 100 * number + 100):
            try:
                make(folder / name, {**BASE, **changes}, how, seed)
                break
            except NearlyEqual:
                continue
        print(f"{name}: seed {seed}, {sum(p.stat().st_size for p in (folder / name).rglob('*') if p.is_file()) // 1024} KiB")


def make(target: Path, raw: dict, how: dict, seed: int) -> None:
    torch.manual_seed(seed)
    reference = Reference(raw, how.get("tied", False))
    reference.randomise(how.get("dtype", torch.float32))
    generator = torch.Generator().manual_seed(seed)
    n, side = raw["resolution_ratio"], raw["vision_config"]["image_size"]
    goldens, cases = {}, {}
    for case, (frames, ids) in prompts(generator).items():
        pictures = None
        if frames:
            parts = 1 if n == 1 else n * n + 1
            pictures = torch.randint(0, 256, (frames, parts, side, side, 3), generator=generator, dtype=torch.uint8)
            goldens[f"{case}/pictures"] = pictures
        result = reference.answer(pictures, torch.tensor(ids))
        cases[case] = {"ids": ids, "frames": frames}
        goldens |= {f"{case}/{key}": tensor.contiguous() for key, tensor in result.items()}
    target.mkdir(parents=True, exist_ok=True)
    save_checkpoint(reference, target, how)
    save_file(goldens, target / "goldens.safetensors", metadata={"cases": json.dumps(cases)})


if __name__ == "__main__":
    main()
