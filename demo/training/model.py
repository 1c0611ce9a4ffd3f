"""LLaVA-Mini in plain PyTorch, with the tensor names of the published checkpoints.

Shapes use: B pictures or videos, T frames (1 for a picture), S parts of a frame (n*n crops and the
whole, or the whole alone), P patches of a part, C compressed tokens, Q conversations about the same
picture, L text tokens, D LLM width, Dv vision width, V vocabulary.

What the visual rows of the pre-fusion compute does not depend on the text (the mask is causal and the
text comes last), so `encode` runs once a picture and `fuse` runs for any number of texts on top of it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from clip import ClipVision, Compressor
from config import Config
from llama import LlamaBlock, RmsNorm, attend, rope_frequencies

IMAGE_ID = -200


def grid_positions(grid: int, width: int) -> Tensor:
    """Sines and cosines of row and column: [1 + grid*grid, width], the first row (CLS) zero, rms 0.7."""
    frequency = 60.0 ** -(torch.arange(width // 4) / (width // 4))
    angle = torch.arange(grid)[:, None] * frequency  # [grid, width / 4]
    waves = torch.cat((angle.sin(), angle.cos()), 1)
    both = torch.cat((waves[:, None].expand(-1, grid, -1), waves[None].expand(grid, -1, -1)), 2)
    return torch.cat((torch.zeros(1, width), both.flatten(0, 1)))


def tiles_and_whole(parts: Tensor) -> Tensor:
    """[N, S, P, ...], the whole picture last -> [N, S*P, ...]: the n*n crops as one (n*grid) x (n*grid) raster, the whole."""
    n, grid = math.isqrt(parts.shape[1] - 1), math.isqrt(parts.shape[2])
    if n == 0:
        return parts[:, 0]
    tiles = parts[:, :-1].unflatten(2, (grid, grid)).unflatten(1, (n, n)).transpose(2, 3)  # [N, n, grid, n, grid, ...]
    return torch.cat((tiles.flatten(1, 4), parts[:, -1]), 1)


@dataclass
class Visual:
    """What one batch of frames contributes, whatever is asked about it.

    past: per pre-fusion layer, keys and values of the visual rows, [B*T, Hkv, R, d] each.
    tokens: the vision tokens, [B, T*C, D].
    patches: the CLIP features, [B*T, S, P, Dv].
    """

    past: list[tuple[Tensor, Tensor]]
    tokens: Tensor
    patches: Tensor
    frames: int


@dataclass
class Trace:
    """Inner values of one fusion, for training aids and statistics; filled by `fuse` when it is given one.

    queries, keys: per pre-fusion layer, those of the text rows, [B*T*Q, H or Hkv, L, d].
    place: [B, Q, L], at which row of queries and keys a text row stands (ignored rows come last).
    rows: text rows after the last pre-fusion layer, not yet averaged over frames, [B, T, Q, L, D], in text order.
    video: vision tokens of the first conversations after each layer of the LLM, [B, T*C, D].
    """

    queries: list[Tensor] = field(default_factory=list)
    keys: list[Tensor] = field(default_factory=list)
    place: Tensor | None = None
    rows: Tensor | None = None
    video: list[Tensor] = field(default_factory=list)


class LlavaMiniModel(nn.Module):
    """The part of the checkpoint under `model.`"""

    def __init__(self, config: Config):
        super().__init__()
        width, vision_width = config.hidden_size, config.mm_hidden_size
        self.embed_tokens = nn.Embedding(config.vocab_size, width)
        self.layers = nn.ModuleList(LlamaBlock(config) for _ in range(config.num_hidden_layers))
        self.norm = RmsNorm(width, config.rms_norm_eps)
        self.prefusion_layers = nn.ModuleList(LlamaBlock(config) for _ in range(config.prefusion_layer_num))
        self.compressor = Compressor(vision_width, config.compressor_size)
        self.mm_projector = nn.Sequential(nn.Linear(vision_width, width), nn.GELU(), nn.Linear(width, width))
        vision_model = ClipVision(config.vision_config, config.mm_vision_select_layer)
        self.vision_tower = nn.ModuleDict({"vision_tower": nn.ModuleDict({"vision_model": vision_model})})


class LlavaMini(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.model = LlavaMiniModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.register_buffer("frequencies", rope_frequencies(config), persistent=False)

    def rope(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """[N, L] -> cos, sin [N, 1, L, d/2]."""
        angles = (positions[..., None].float() * self.frequencies)[:, None]
        return angles.cos(), angles.sin()

    def encode(self, pixels: Tensor) -> Visual:
        """[B, T, S, 3, 336, 336] -> Visual; the pre-fusion of everything but the text."""
        batch, frames, parts = pixels.shape[:3]
        clip = self.model.vision_tower["vision_tower"]["vision_model"]
        patches = clip(pixels.flatten(0, 2)).unflatten(0, (batch * frames, parts))  # [B*T, S, P, Dv]
        rows = tiles_and_whole(patches)
        compressed = self.model.compressor(rows if parts == 1 else rows[:, : -patches.shape[2]])
        x = self.model.mm_projector(torch.cat((rows, compressed), 1))
        cos, sin = self.rope(torch.arange(x.shape[1], device=x.device)[None])
        past = []
        for block in self.model.prefusion_layers:
            x, own = block(x, cos, sin)
            past.append(own)
        tokens = x[:, -compressed.shape[1] :].unflatten(0, (batch, frames)).flatten(1, 2)
        return Visual(past, tokens, patches, frames)

    def fuse(self, visual: Visual, ids: Tensor, trace: Trace | None = None) -> Tensor:
        """ids [B, Q, L] -> fused text [B, Q, L, D], the mean over frames.

        Rows with id <= 0 (the placeholder, and the real token 0) take no part: nothing attends to
        them, they take no position, and they keep their plain embedding. Moved behind all other rows
        they are out of the causal attention's sight, and the others stand at their right positions.
        """
        batch, queries, length = ids.shape
        frames, seen = visual.frames, visual.past[0][0].shape[2]
        plain = self.model.embed_tokens(ids.clamp(min=0)).to(visual.tokens.dtype)
        real = ids > 0
        target = torch.where(real, real.cumsum(-1), real.sum(-1, keepdim=True) + (~real).cumsum(-1)) - 1
        row = torch.arange(length, device=ids.device).expand_as(target)
        order = torch.zeros_like(target).scatter(-1, target, row)[..., None]  # [B, Q, L, 1]
        x = plain.take_along_dim(order, 2)
        x = x[:, None].expand(-1, frames, -1, -1, -1).flatten(0, 2)  # [B*T*Q, L, D]
        cos, sin = self.rope(torch.arange(seen, seen + length, device=ids.device)[None])
        for block, past in zip(self.model.prefusion_layers, visual.past):
            past = tuple(t[:, None].expand(-1, queries, -1, -1, -1).flatten(0, 1) for t in past)
            q, k, v = block.before_attention(x, cos, sin)
            x = block.after_attention(x, attend(q, k, v, past))
            if trace is not None:
                trace.queries.append(q)
                trace.keys.append(k)
        rows = x.unflatten(0, (batch, frames, queries))
        fused = rows.float().mean(1).to(plain.dtype).take_along_dim(target[..., None], 2)
        if trace is not None:
            trace.place = target
            trace.rows = rows.take_along_dim(target[:, None, ..., None], 3)
        return torch.where(real[..., None], fused, plain)

    def embed(
        self, visual: Visual | None, ids: Tensor, prompt_length: Tensor, trace: Trace | None = None
    ) -> Tensor:
        """LLM input. ids [B, Q, L], prompt_length [B, Q] -> [B, Q, L', D].

        Rows from prompt_length on (an answer) are plain embeddings. With a picture L' = L + T*C - 1:
        the vision tokens stand where the placeholder was.
        """
        plain = self.model.embed_tokens(ids.clamp(min=0))
        if visual is None:
            return plain
        plain = plain.to(visual.tokens.dtype)
        in_prompt = torch.arange(ids.shape[-1], device=ids.device) < prompt_length[..., None]
        text = torch.where(in_prompt[..., None], self.fuse(visual, ids, trace), plain)
        length, count = ids.shape[-1], visual.tokens.shape[1]
        tokens = visual.tokens[:, None].expand(-1, ids.shape[1], -1, -1)
        place = (ids == IMAGE_ID).int().argmax(-1, keepdim=True)
        row = torch.arange(length + count - 1, device=ids.device)
        after = torch.where(row < place + count, length + row - place, row - count + 1)
        source = torch.where(row < place, row, after)  # index into text, then tokens: [B, Q, L']
        return torch.cat((text, tokens), 2).take_along_dim(source[..., None], 2)

    def hidden(self, x: Tensor, layers: list[Tensor] | None = None) -> Tensor:
        """LLM blocks and final norm: [N, L, D] -> [N, L, D]. Appends what each block gives to `layers`."""
        x = x[:, : self.config.tokenizer_model_max_length]
        cos, sin = self.rope(torch.arange(x.shape[1], device=x.device)[None])
        for block in self.model.layers:
            x, _ = block(x, cos, sin)
            if layers is not None:
                layers.append(x)
        return self.model.norm(x)

    def forward(
        self, visual: Visual | None, ids: Tensor, prompt_length: Tensor, trace: Trace | None = None
    ) -> Tensor:
        """Logits [B, Q, L, V] of the next token after each id; rows up to the placeholder mean nothing."""
        x = self.embed(visual, ids, prompt_length, trace)
        layers: list[Tensor] = []
        hidden = self.hidden(x.flatten(0, 1), layers)[:, -ids.shape[-1] :]
        if trace is not None:
            place = (ids[:, 0] == IMAGE_ID).int().argmax(-1)[:, None] + torch.arange(visual.tokens.shape[1], device=ids.device)
            trace.video = [rows.unflatten(0, ids.shape[:2])[:, 0].take_along_dim(place[..., None], 1) for rows in layers]
        return self.lm_head(hidden).unflatten(0, ids.shape[:2])

    @torch.no_grad()
    def generate(self, pixels: Tensor | None, ids: Tensor, prompt_length: Tensor, max_new_tokens: int = 96):
        """Greedy answers to right-padded prompts: ids [B, Q, L], prompt_length [B, Q] -> B lists of Q id lists.

        Runs the LLM anew for every token: plain, and quick enough for a model of this size.
        """
        batch, queries = ids.shape[:2]
        visual = None if pixels is None else self.encode(pixels)
        x = self.embed(visual, ids, prompt_length).flatten(0, 1)
        end = (prompt_length + (x.shape[1] - ids.shape[-1])).flatten()
        x = F.pad(x, (0, 0, 0, max_new_tokens))
        stops = torch.tensor(self.config.eos_token_id, device=x.device)
        rows = torch.arange(len(x), device=x.device)
        done = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        answers: list[list[int]] = [[] for _ in range(len(x))]
        for _ in range(max_new_tokens):
            hidden = self.hidden(x[:, : int(end.max())])
            token = self.lm_head(hidden[rows, end - 1]).argmax(-1)
            done |= torch.isin(token, stops)
            if done.all():
                break
            for row, (value, stopped) in enumerate(zip(token.tolist(), done.tolist())):
                if not stopped:
                    answers[row].append(value)
            x[rows, end] = self.model.embed_tokens(token)
            end = end + 1
        return [answers[b * queries : (b + 1) * queries] for b in range(batch)]

    def initialise(self) -> None:
        """Start values. Text and visual rows enter the pre-fusion at about the same scale, rms 1, so that the
        blocks (whose outputs start near 0) add to a row without drowning which word or patch it is."""
        for name, weight in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(weight)
            elif name.endswith("embed_tokens.weight"):
                nn.init.normal_(weight, std=1.0)
            elif name.endswith("position_embedding.weight"):
                weight.data.copy_(0.4 * grid_positions(self.config.vision_config.grid, weight.shape[1]))
            elif name.endswith(("o_proj.weight", "down_proj.weight", "out_proj.weight", "fc2.weight")) and "compressor" not in name:
                nn.init.normal_(weight, std=0.01)
            elif name.endswith("mm_projector.0.weight"):
                nn.init.normal_(weight, std=0.07)
            elif name.endswith("mm_projector.2.weight"):
                nn.init.normal_(weight, std=0.11)
            elif weight.dim() >= 2 or "class_embedding" in name:
                nn.init.normal_(weight, std=0.02 if "lm_head" in name else 0.04)

    # ------------------------------------------------------------------------------- files

    def save(self, folder: Path, dtype: torch.dtype = torch.float16) -> None:
        """Writes config.json, generation_config.json and model.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        self.config.save(folder / "config.json")
        generation = {
            "bos_token_id": self.config.bos_token_id,
            "eos_token_id": self.config.eos_token_id,
            "do_sample": False,
        }
        (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
        tensors = {name: t.detach().to("cpu", dtype).contiguous() for name, t in self.state_dict().items()}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> LlavaMini:
        """A checkpoint folder as an fp32 model in eval mode."""
        model = cls(Config.load(folder / "config.json"))
        model.load_state_dict(load_file(folder / "model.safetensors"))
        return model.float().to(device).eval()
