"""Makes tests/golden/checkpoint: what the reference writer of safetensors makes of awkward numbers, and what they are in
the other dtypes. The conversions are NumPy's and integer arithmetic, so independent of PyTorch.

    pip install numpy "safetensors>=0.8" && python tests/golden/checkpoint_goldens.py
"""
import pathlib

import numpy as np
import safetensors

FOLDER = pathlib.Path(__file__).parent / "checkpoint"


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """float32 -> bits of bfloat16, to nearest, ties to even. No NaN."""
    bits = values.view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def to_float16(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return values.astype(np.float16)


def write(name: str, tensors: dict, metadata: dict | None) -> None:
    """tensors: name -> (dtype, values, shape); they stay alive here while the writer reads their memory."""
    specs = {
        key: safetensors.TensorSpec(dtype=dtype, shape=shape, data_ptr=values.ctypes.data, data_len=values.nbytes)
        for key, (dtype, values, shape) in tensors.items()
    }
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / name).write_bytes(safetensors.serialize(specs, metadata))


def main() -> None:
    random = np.random.default_rng(7)
    patterns = np.arange(0, 65536, 7, dtype=np.uint16)
    halves = patterns.view(np.float16)
    halves = halves[~np.isnan(halves)]
    brains = patterns[~np.isnan(from_bfloat16(patterns))]
    floats = random.integers(0, 2**32, 4000, dtype=np.uint32).view(np.float32)
    floats = floats[~np.isnan(floats)]
    steps = halves.astype(np.float32)
    ties = (steps[:-1] / 2 + steps[1:] / 2)[::3]
    edges = np.array([0.0, -0.0, np.inf, -np.inf, 65504, 65519.996, 65520, 2**-24, 2**-25, 2**-25 * 1.0001, 3.4e38,
                      3.3895e38, 3.3961e38, 1e-45, 1.00390625, 1.01171875, 1.0039063], dtype=np.float32)
    floats = np.concatenate([edges, ties[np.isfinite(ties)], floats]).astype(np.float32)

    wide = {"F32": floats, "F16": halves.astype(np.float32), "BF16": from_bfloat16(brains)}
    write("model.safetensors", {
        "F32": ("float32", floats, floats.shape),
        "F16": ("float16", halves, halves.shape),
        "BF16": ("bfloat16", brains, brains.shape),
        "scalar": ("float32", np.array([2.5], dtype=np.float32), []),
        "empty": ("float16", np.zeros(0, dtype=np.float16), [0, 3]),
    }, {"format": "np"})
    expected = {}
    for name, numbers in wide.items():
        expected[f"{name} as F32"] = ("float32", numbers, numbers.shape)
        expected[f"{name} as F16"] = ("float16", to_float16(numbers), numbers.shape)
        expected[f"{name} as BF16"] = ("bfloat16", to_bfloat16(numbers), numbers.shape)
    write("expected.safetensors", expected, None)


if __name__ == "__main__":
    main()
