"""A checkpoint folder of a configuration's shapes, as fast as the disk takes it: shards of bfloat16, the same small random values again
and again. Its answers are noise.

    python3 large_checkpoint.py CONFIG_FOLDER OUT_FOLDER
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
sys.path.append(str(SOURCE / "tests/e2e"))

from checkpoint_tensors import tensors  # noqa: E402

BLOCK = 64 << 20  # bytes
SHARD_BYTES = 4 << 30
WRITERS = 4


def random_block() -> bytes:
    """bfloat16 of magnitude 2^-7 to 2^-6, about 0.01."""
    generator = random.Random(1)
    values = [(generator.getrandbits(1) << 15) | (120 << 7) | generator.getrandbits(7) for _ in range(1 << 16)]
    piece = struct.pack(f"<{len(values)}H", *values)
    return piece * (BLOCK // len(piece))


def write_shard(path: Path, named: list[tuple[str, tuple[int, ...]]], block: bytes) -> None:
    header, offset = {}, 0
    for name, shape in named:
        end = offset + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb", buffering=0) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for begin in range(0, offset, BLOCK):
            file.write(memoryview(block)[: min(BLOCK, offset - begin)])
        os.fsync(file.fileno())


def write_checkpoint(config_folder: Path, out: Path) -> int:
    """Bytes of its weights."""
    out.mkdir(parents=True, exist_ok=True)
    for file in config_folder.glob("*.json"):
        if file.name != "model.safetensors.index.json":
            shutil.copy(file, out / file.name)
    shards: list[list] = [[]]
    total = filled = 0
    for name, shape in tensors(json.loads((out / "config.json").read_text())):
        size = 2 * math.prod(shape)
        if filled + size > SHARD_BYTES and shards[-1]:
            shards.append([])
            filled = 0
        shards[-1].append((name, shape))
        filled, total = filled + size, total + size
    names = [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    weight_map = {name: file for file, shard in zip(names, shards, strict=True) for name, _ in shard}
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (out / "model.safetensors.index.json").write_text(json.dumps(index))
    block = random_block()
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(lambda pair: write_shard(out / pair[0], pair[1], block), zip(names, shards, strict=True)))
    return total


if __name__ == "__main__":
    print(f"{write_checkpoint(Path(sys.argv[1]), Path(sys.argv[2])) / 1e9:.2f} GB")
