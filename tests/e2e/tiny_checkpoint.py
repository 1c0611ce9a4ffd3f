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
from pathlib import Path

from checkpoint_tensors import tensors

DEMO = Path(__file__).resolve().parents[2] / "demo" / "checkpoint"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json")

HIDDEN, INTERMEDIATE, HEADS, KEY_VALUE_HEADS, LAYERS, PREFUSION_LAYERS = 64, 128, 4, 2, 2, 2
VISION_HIDDEN, VISION_INTERMEDIATE, VISION_LAYERS, IMAGE_SIDE, PATCH_SIDE = 64, 128, 3, 56, 14
VOCAB = 1000


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
    named = {name: (shape, _values(name, shape, generator).tobytes()) for name, shape in tensors(config())}
    write_safetensors(folder / "model.safetensors", named)


if __name__ == "__main__":
    write_checkpoint(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
