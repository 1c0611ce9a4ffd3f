"""Breaks one formula of the model after the other and checks that a test notices: python3 tests/mutations.py

Works on a copy of the sources in a temporary folder (LLAVAMINI_TORCH as printed by deploy/install.sh), one rebuild per formula; some
minutes. Exits 1 when a broken formula passes every test.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# file, what stands there, what a mistake would make of it
MUTATIONS = [
    ("model/clip.cc", "config_.num_hidden_layers + 1 +", "config_.num_hidden_layers +"),
    ("model/clip.cc", ".slice(1, 1)", ".slice(1, 0, -1)"),
    ("model/compressor.cc", "query_norm(learned) + position_", "query_norm(learned + position_)"),
    ("model/compressor.cc", "asked_(seen) + position_scores_.at", "asked_(seen) - position_scores_.at"),
    ("model/compressor.cc", "ops::Gelu(inner);", 'at::gelu_(inner, "tanh");'),
    ("model/compressor.cc", "/*align_corners=*/false", "/*align_corners=*/true"),
    ("model/fusion.cc", ".permute({0, 1, 3, 2, 4, 5})", ".permute({0, 1, 2, 3, 4, 5})"),
    ("model/fusion.cc", "static_cast<int32_t>(seen + row)", "static_cast<int32_t>(seen + row + 1)"),
    ("model/fusion.cc", "RepeatedRange(shape.rows - compressed, shape.rows,", "RepeatedRange(0, compressed,"),
    ("model/fusion.cc", "{tiles, whole, compressor_(tiles, n)}", "{whole, tiles, compressor_(tiles, n)}"),
    ("model/fused_text.cc", "if (id > 0) ids.push_back(id);", "if (id >= 0) ids.push_back(id);"),
    ("model/fused_text.cc", "(text.fused + i) * compressed", "i * compressed"),
    ("model/step_runner.cc", "const bool mean = fused->images > 1;", "const bool mean = false;"),
    ("model/step_pass.cc", "static_cast<int64_t>(prompts.size() + i)", "static_cast<int64_t>(i)"),
    ("model/step_runner.cc", "position % kPageTokens", "(position + 1) % kPageTokens"),
    ("model/llama.cc", "keep + (1 - keep) / scaling.factor", "keep + (1 - keep) * scaling.factor"),
    ("model/ops_plain.cc", "halves[0] * c - halves[1] * s, halves[1] * c + halves[0] * s", "halves[0] * c + halves[1] * s, halves[1] * c - halves[0] * s"),
    ("model/ops_plain.cc", "tril(seen - rows)", "tril(seen - rows + 1)"),
    ("model/ops_plain.cc", ".mean(-1, /*keepdim=*/true).add(eps)", ".mean(-1, /*keepdim=*/true).add(eps + 0.01)"),
    ("model/ops_plain.cc", "1.702 * x", "1.602 * x"),
    ("model/ops_plain.cc", "row <= paged.positions", "row < paged.positions"),
    ("model/ops_plain.cc", "made.index_select(0, -2 - ids", "made.index_select(0, -1 - ids"),
]  # fmt: skip


def run(*command: str) -> bool:
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def main() -> int:
    sources = Path(__file__).resolve().parent.parent
    torch = os.environ.get("LLAVAMINI_TORCH") or subprocess.check_output([sources / "deploy/install.sh"], text=True).strip()
    survived = []
    with tempfile.TemporaryDirectory() as scratch:
        copy, build = Path(scratch) / "src", Path(scratch) / "build"
        shutil.copytree(sources, copy, ignore=shutil.ignore_patterns("build*", ".git"))
        options = [f"-DLLAVAMINI_TORCH={torch}", "-DLLAVAMINI_CUDA=OFF"]
        subprocess.run(["cmake", "-G", "Ninja", "-S", copy, "-B", build, *options], check=True, stdout=subprocess.DEVNULL)
        test = [str(build / "bin" / "model_tests"), "--gtest_filter=-*Bfloat16*"]
        if not run("cmake", "--build", str(build), "--target", "model_tests") or not run(*test):
            print("the tests fail before anything is broken")
            return 1
        for file, right, wrong in MUTATIONS:
            path = copy / file
            text = path.read_text()
            assert text.count(right) >= 1, f"{file}: no longer says {right}"
            path.write_text(text.replace(right, wrong))
            built = run("cmake", "--build", str(build), "--target", "model_tests")
            noticed = built and not run(*test)
            print(f"{'noticed' if noticed else 'NOT NOTICED' if built else 'DOES NOT BUILD'}: {file}: {wrong}", flush=True)
            if not noticed:
                survived.append(file)
            path.write_text(text)
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
