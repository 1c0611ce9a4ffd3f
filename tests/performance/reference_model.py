"""LLaVA-Mini the published way, in batches and with a key-value cache: what the server's speed is compared with.

The modules, the checkpoint's names and the mathematics are those of tests/golden/parity_goldens.py (CLIPVisionModel with all its
blocks, torch.nn.MultiheadAttention, LlamaDecoderLayer over the whole concatenation, LlamaForCausalLM). Added here is what a user of the
published code has as well: any dtype and device, scaled_dot_product_attention, many pictures in one call, and generation with a
DynamicCache.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor
from transformers import DynamicCache

sys.path.append(str(Path(__file__).resolve().parents[1] / "golden"))

from parity_goldens import IMAGE_ID, MEAN, STD, Reference  # noqa: E402

CLIP_VIT_L_336 = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16, "image_size": 336,
    "patch_size": 14, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
}  # fmt: skip
TOWER_PREFIX = "model.vision_tower.vision_tower."


def read_config(folder: Path) -> dict:
    raw = json.loads((folder / "config.json").read_text())
    return {"vision_config": CLIP_VIT_L_336, **raw}


def stored_tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of every weight in the folder; a tower of its own lies in its subfolder `tower`."""
    for part, prefix in ((folder, ""), (folder / "tower", TOWER_PREFIX)):
        for path in sorted(part.glob("model*.safetensors")):
            with safe_open(path, framework="pt") as file:
                for name in file.keys():
                    yield prefix + name, file.get_tensor(name)


class PublishedModel(Reference):
    """Built on one device in one dtype; weights come from load() or randomise()."""

    def __init__(self, raw: dict, device: str, dtype: torch.dtype):
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            with torch.device(device):
                super().__init__(raw, tied=False)
        finally:
            torch.set_default_dtype(before)
        self.attn.eval()
        self.llm.set_attn_implementation("sdpa")
        for layer in self.prefusion:
            layer.self_attn.config._attn_implementation = "sdpa"
        self.device, self.dtype = torch.device(device), dtype
        self.mean, self.std = MEAN.to(device), STD.to(device)

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        wanted = self.named_tensors()
        for name, tensor in stored_tensors(folder):
            if name.endswith(("position_ids", "inv_freq")):
                continue
            wanted.pop(name).copy_(tensor)
        if "lm_head.weight" in wanted:
            wanted.pop("lm_head.weight").copy_(self.llm.model.embed_tokens.weight)
        if wanted:
            raise ValueError(f"{folder} lacks {sorted(wanted)}")

    def features(self, parts: Tensor) -> Tensor:
        """uint8 [B, side, side, 3] -> [B, P, Dv]."""
        pixels = ((parts.to(self.device).float() / 255 - self.mean) / self.std).permute(0, 3, 1, 2)
        hidden = self.clip(pixels.to(self.dtype), output_hidden_states=True).hidden_states
        return hidden[self.raw["mm_vision_select_layer"]][:, 1:]

    def compress(self, x: Tensor) -> Tensor:
        """[B, P, Dv] -> [B, C, Dv]."""
        side, grid = self.raw["compressor_size"], round(x.shape[1] ** 0.5)
        position = key_position = self.compressor["pos_embed"]
        if side != grid:
            square = position.float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
            resized = F.interpolate(square, size=(grid, grid), mode="bicubic", align_corners=False)
            key_position = resized.permute(0, 2, 3, 1).flatten(0, 2).to(x.dtype)
        kv = self.ln_kv(x)
        query = (self.ln_q(self.compressor["query"]) + position).expand(len(x), -1, -1)
        return self.attn(query, kv + key_position, kv, need_weights=False)[0]

    def visual_rows(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """[B, S, P, Dv] -> projected rows before the text [B, .., D], the compressed ones among them last, [B, C, D]."""
        whole = patches[:, -1]
        if patches.shape[1] == 1:
            compressed, visual = self.compress(whole), [whole]
        else:
            n, grid = round((patches.shape[1] - 1) ** 0.5), round(patches.shape[2] ** 0.5)
            squares = patches[:, :-1].unflatten(2, (grid, grid)).unflatten(1, (n, n))  # [B, n, n, grid, grid, Dv]
            tiles = squares.transpose(2, 3).flatten(1, 4)
            compressed, visual = self.compress(tiles), [tiles, whole]
        projected = self.projector(compressed)
        return torch.cat([*(self.projector(part) for part in visual), projected], 1), projected

    def fuse_features(self, patches: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """patches [B, S, P, Dv], ids [B, L] -> vision tokens [B, C, D], fused text [B, L, D]."""
        text = self.llm.model.embed_tokens(ids.clamp(min=0))
        visual, compressed = self.visual_rows(patches)
        x = torch.cat([visual, text], 1)
        taking_part = F.pad(ids > 0, (visual.shape[1], 0), value=True)  # [B, rows]
        positions = (taking_part.long().cumsum(1) - 1).clamp(min=0)
        rows = x.shape[1]
        allowed = torch.ones(rows, rows, dtype=torch.bool, device=x.device).tril() & taking_part[:, None, :]
        allowed |= torch.eye(rows, dtype=torch.bool, device=x.device)  # an ignored row must see something
        embeddings = self.rotary(x, positions)
        for layer in self.prefusion:
            out = layer(x, attention_mask=allowed[:, None], position_ids=positions, position_embeddings=embeddings)
            x = out[0] if isinstance(out, tuple) else out
        length, tokens = ids.shape[1], compressed.shape[1]
        fused = torch.where((ids > 0)[..., None], x[:, -length:], text)
        return x[:, -length - tokens : -length], fused

    def fuse_pictures(self, pictures: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [B, S, side, side, 3], ids [B, L] -> as fuse_features()."""
        patches = self.features(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2])
        return self.fuse_features(patches, ids.to(self.device))

    def prompts(self, pictures: Tensor, ids: Tensor) -> Tensor:
        """B questions of one length about a picture each -> the language model's input [B, L - 1 + C, D]."""
        tokens, fused = self.fuse_pictures(pictures, ids)
        place = ids[0].tolist().index(IMAGE_ID)
        return torch.cat([fused[:, :place], tokens, fused[:, place + 1 :]], 1)

    def video_prompt(self, frames: Tensor, ids: Tensor) -> Tensor:
        """One question, ids [L], about frames uint8 [T, S, side, side, 3] -> [1, L - 1 + T·C, D]."""
        tokens, fused = self.fuse_pictures(frames, ids.expand(len(frames), -1))
        text, place = fused.float().mean(0).to(fused.dtype), ids.tolist().index(IMAGE_ID)
        return torch.cat([text[:place], tokens.flatten(0, 1), text[place + 1 :]])[None]

    def text_prompt(self, ids: Tensor) -> Tensor:
        """ids [L] -> [1, L, D]."""
        return self.llm.model.embed_tokens(ids.to(self.device).clamp(min=0))[None]

    def step(self, x: Tensor, cache: DynamicCache) -> Tensor:
        """Rows [B, n, D] behind the cache's -> the most likely next ids [B]."""
        logits = self.llm(inputs_embeds=x, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        return logits[:, -1].argmax(-1)

    def generate(self, x: Tensor, count: int) -> Iterator[list[int]]:
        """Greedy ids, one list of B per step, as soon as they are there; no id ends an answer."""
        cache = DynamicCache(config=self.llm.config)
        for _ in range(count):
            ids = self.step(x, cache)
            yield ids.tolist()
            x = self.llm.model.embed_tokens(ids)[:, None]
