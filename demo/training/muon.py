"""Muon: momentum with orthogonalised updates, for the weight matrices inside the blocks."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor


def orthogonalise(batch: Tensor, steps: int = 5) -> Tensor:
    """[K, m, n] -> about the nearest (semi-)orthogonal matrices, by Newton-Schulz iteration in bf16."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = batch.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        square = x @ x.mT
        polynomial = torch.baddbmm(square, square, square, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return (x.mT if tall else x).to(batch.dtype)


class Muon(torch.optim.Optimizer):
    """Matrices of one shape are updated together. A matrix without a gradient counts as one with zeros.

    The rate of a group may be a tensor, so that a recorded CUDA graph of the step follows it.
    """

    def __init__(self, matrices: list[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.01):
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            by_shape = defaultdict(list)
            for matrix in group["params"]:
                by_shape[matrix.shape].append(matrix)
            for (rows, columns), matrices in by_shape.items():
                gradient = torch.stack([torch.zeros_like(m) if m.grad is None else m.grad for m in matrices])
                state = self.state[matrices[0]]
                if not state:
                    state["momentum"] = torch.zeros_like(gradient)
                state["momentum"].lerp_(gradient, 1 - group["momentum"])
                update = orthogonalise(gradient.lerp(state["momentum"], group["momentum"]))
                update = update * (-group["lr"] * max(1.0, rows / columns) ** 0.5)
                torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(matrices, list(update.unbind(0)))
