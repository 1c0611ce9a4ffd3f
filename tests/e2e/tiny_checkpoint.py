"""A random LLaVA-Mini checkpoint of 1 MB in the published layout, from the standard library alone.

    python3 tiny_checkpoint.py FOLDER [SEED]

Its answers are noise, but they depend on every part of the model. The tokenizer is the demo's.
"""

from __future__ import annotations

import array
import json
import math
import random
import shutil
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

DEMO = Path(__file__).resolve().parents[2] / "demo" / "checkpoint"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json")

HIDDEN, INTERMEDIATE, HEADS, KEY_VALUE_HEADS, LAYERS, PREFUSION_LAYERS = 64, 128, 4, 2, 2, 2
VISION_HIDDEN, VISION_INTERMEDIATE, VISION_LAYERS, IMAGE_SIDE, PATCH_SIDE = 64, 128, 3, 56, 14
VOCAB = 1000
PATCHES = (IMAGE_SIDE // PATCH_SIDE) ** 2


def config() -> dict:
    demo = json.loads((DEMO / "config.json").read_text())
    return demo | {
        "torch_dtype": "float32",
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_VALUE_HEADS,
        "head_dim": HIDDEN // HEADS,
        "vocab_size": VOCAB,
        "prefusion_layer_num": PREFUSION_LAYERS,
        "mm_hidden_size": VISION_HIDDEN,
        "vision_config": {
            "hidden_size": VISION_HIDDEN,
            "intermediate_size": VISION_INTERMEDIATE,
            "num_hidden_layers": VISION_LAYERS,
            "num_attention_heads": 4,
            "image_size": IMAGE_SIDE,
            "patch_size": PATCH_SIDE,
            "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-5,
        },
    }


def _linear(name: str, rows: int, columns: int, bias: bool = False) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (rows, columns)
    if bias:
        yield f"{name}.bias", (rows,)


def _norm(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _llama_layer(name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    key_value = HIDDEN // HEADS * KEY_VALUE_HEADS
    yield f"{name}.input_layernorm.weight", (HIDDEN,)
    yield f"{name}.post_attention_layernorm.weight", (HIDDEN,)
    for letter, rows in (("q", HIDDEN), ("k", key_value), ("v", key_value), ("o", HIDDEN)):
        yield from _linear(f"{name}.self_attn.{letter}_proj", rows, HIDDEN)
    yield from _linear(f"{name}.mlp.gate_proj", INTERMEDIATE, HIDDEN)
    yield from _linear(f"{name}.mlp.up_proj", INTERMEDIATE, HIDDEN)
    yield from _linear(f"{name}.mlp.down_proj", HIDDEN, INTERMEDIATE)


def _clip() -> Iterator[tuple[str, tuple[int, ...]]]:
    root = "model.vision_tower.vision_tower.vision_model"
    yield f"{root}.embeddings.class_embedding", (VISION_HIDDEN,)
    yield f"{root}.embeddings.patch_embedding.weight", (VISION_HIDDEN, 3, PATCH_SIDE, PATCH_SIDE)
    yield f"{root}.embeddings.position_embedding.weight", (PATCHES + 1, VISION_HIDDEN)
    yield from _norm(f"{root}.pre_layrnorm", VISION_HIDDEN)
    yield from _norm(f"{root}.post_layernorm", VISION_HIDDEN)
    for i in range(VISION_LAYERS):
        layer = f"{root}.encoder.layers.{i}"
        yield from _norm(f"{layer}.layer_norm1", VISION_HIDDEN)
        yield from _norm(f"{layer}.layer_norm2", VISION_HIDDEN)
        for letter in ("q", "k", "v", "out"):
            yield from _linear(f"{layer}.self_attn.{letter}_proj", VISION_HIDDEN, VISION_HIDDEN, bias=True)
        yield from _linear(f"{layer}.mlp.fc1", VISION_INTERMEDIATE, VISION_HIDDEN, bias=True)
        yield from _linear(f"{layer}.mlp.fc2", VISION_HIDDEN, VISION_INTERMEDIATE, bias=True)


def tensors() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every tensor."""
    yield "model.embed_tokens.weight", (VOCAB, HIDDEN)
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (VOCAB, HIDDEN)
    for i in range(LAYERS):
        yield from _llama_layer(f"model.layers.{i}")
    for i in range(PREFUSION_LAYERS):
        yield from _llama_layer(f"model.prefusion_layers.{i}")
    yield "model.compressor.query", (1, VISION_HIDDEN)
    yield "model.compressor.pos_embed", (1, VISION_HIDDEN)
    yield "model.compressor.attn.in_proj_weight", (3 * VISION_HIDDEN, VISION_HIDDEN)
    yield "model.compressor.attn.in_proj_bias", (3 * VISION_HIDDEN,)
    yield from _linear("model.compressor.attn.out_proj", VISION_HIDDEN, VISION_HIDDEN, bias=True)
    yield from _norm("model.compressor.ln_q", VISION_HIDDEN)
    yield from _norm("model.compressor.ln_kv", VISION_HIDDEN)
    yield from _linear("model.mm_projector.0", HIDDEN, VISION_HIDDEN, bias=True)
    yield from _linear("model.mm_projector.2", HIDDEN, HIDDEN, bias=True)
    yield from _clip()


def _values(name: str, shape: tuple[int, ...], generator: random.Random) -> array.array:
    count = math.prod(shape)
    if "norm" in name or ".ln_" in name:
        mean, spread = (1.0, 0.1) if name.endswith("weight") else (0.0, 0.1)
    else:
        mean, spread = 0.0, 1.0 if len(shape) == 1 else 1.5 / math.sqrt(math.prod(shape[1:]))
    return array.array("f", (generator.gauss(mean, spread) for _ in range(count)))


def write_safetensors(path: Path, named: dict[str, tuple[tuple[int, ...], bytes]]) -> None:
    """named: name -> (shape, little-endian float32 values)."""
    header, offset = {}, 0
    for name, (shape, data) in named.items():
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, data in named.values():
            file.write(data)


def write_checkpoint(folder: Path, seed: int = 1) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        shutil.copy(DEMO / name, folder / name)
    (folder / "config.json").write_text(json.dumps(config(), indent=1))
    generator = random.Random(seed)
    named = {name: (shape, _values(name, shape, generator).tobytes()) for name, shape in tensors()}
    write_safetensors(folder / "model.safetensors", named)


if __name__ == "__main__":
    write_checkpoint(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
