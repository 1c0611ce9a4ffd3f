"""The CLIP vision tower and the compressor. N pictures, P patches of a picture, C compressed tokens, Dv width."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from config import VisionConfig


class ClipAttention(nn.Module):
    def __init__(self, config: VisionConfig):
        super().__init__()
        self.heads = config.num_attention_heads
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            setattr(self, name, nn.Linear(config.hidden_size, config.hidden_size))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            proj(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class ClipMlp(nn.Module):
    def __init__(self, config: VisionConfig):
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        return self.fc2(x * torch.sigmoid(1.702 * x))


class ClipBlock(nn.Module):
    def __init__(self, config: VisionConfig):
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = ClipAttention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = ClipMlp(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class ClipEmbeddings(nn.Module):
    def __init__(self, config: VisionConfig):
        super().__init__()
        self.class_embedding = nn.Parameter(torch.zeros(config.hidden_size))
        self.patch_embedding = nn.Conv2d(3, config.hidden_size, config.patch_size, config.patch_size, bias=False)
        self.position_embedding = nn.Embedding(config.grid**2 + 1, config.hidden_size)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(patches), 1, -1).to(patches.dtype)
        return torch.cat((first, patches), 1) + self.position_embedding.weight.to(patches.dtype)


class ClipVision(nn.Module):
    """CLIP vision transformer, run up to `select_layer` as hidden_states[select_layer] means it.

    With select_layer -2 the last block and post_layernorm are only carried along, as in CLIP.
    """

    def __init__(self, config: VisionConfig, select_layer: int):
        super().__init__()
        self.embeddings = ClipEmbeddings(config)
        self.pre_layrnorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.encoder = nn.ModuleDict(
            {"layers": nn.ModuleList(ClipBlock(config) for _ in range(config.num_hidden_layers))}
        )
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.blocks_run = config.num_hidden_layers + 1 + select_layer

    def forward(self, pixels: Tensor) -> Tensor:
        """[N, 3, 336, 336] -> patch features [N, P, Dv], CLS dropped."""
        embedded = self.embeddings(pixels)
        x = self.pre_layrnorm(embedded).to(embedded.dtype)
        for block in self.encoder["layers"][: self.blocks_run]:
            x = block(x)
        return x[:, 1:]


# ------------------------------------------------------------------------------- compressor


class Compressor(nn.Module):
    """C learned queries attend to all patches of a picture."""

    def __init__(self, width: int, side: int, heads: int = 8):
        super().__init__()
        self.side = side
        self.query = nn.Parameter(torch.zeros(side * side, width))
        self.pos_embed = nn.Parameter(torch.zeros(side * side, width))
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_q = nn.LayerNorm(width)
        self.ln_kv = nn.LayerNorm(width)

    def key_positions(self, grid: int) -> Tensor:
        """pos_embed resized to grid x grid: [grid*grid, Dv]."""
        if grid == self.side:
            return self.pos_embed
        if self.side == 1:  # resizing one value repeats it
            return self.pos_embed.expand(grid * grid, -1)
        square = self.pos_embed.float().T.unflatten(1, (self.side, self.side))[None]
        return F.interpolate(square, size=(grid, grid), mode="bicubic", align_corners=False)[0].flatten(1).T

    def forward(self, patches: Tensor) -> Tensor:
        """[B, P', Dv], a square grid in raster order -> [B, C, Dv]."""
        kv = self.ln_kv(patches)
        key = kv + self.key_positions(math.isqrt(patches.shape[1])).to(kv.dtype)
        query = (self.ln_q(self.query) + self.pos_embed).expand(len(patches), -1, -1)
        return self.attn(query.to(kv.dtype), key, kv, need_weights=False)[0]
