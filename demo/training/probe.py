"""What is watched while training: the size of attention logits, rms of rows, and answers to held-out questions."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from multiprocessing import get_context

import numpy as np
import torch
from torch import Tensor

from clip import ClipAttention
from evaluate import make_case, suites
from llama import LlamaAttention
from model import LlavaMini, Trace
from preprocess import to_pixels
from tokenizer import Chat

LENGTH = 160  # text tokens of a held-out conversation


# ------------------------------------------------------------------------------ attention logits


class LogitLimit:
    """Keeps attention logits below a limit, as MuonClip does: scales down the heads that could exceed it.

    The logit of a query and a key is at most |q||k|/sqrt(d), which the rotation of RoPE leaves as it is. `watch`
    records the longest query and key of every head in forward passes (not compiled, no CUDA graph).
    """

    def __init__(self, model: LlavaMini, limit: float):
        self.limit = limit
        self.attentions = {
            name: module for name, module in model.named_modules() if isinstance(module, (ClipAttention, LlamaAttention))
        }
        device = model.lm_head.weight.device
        self.longest = {
            (name, which): torch.zeros(self.heads(module, which), device=device)
            for name, module in self.attentions.items()
            for which in ("q_proj", "k_proj")
        }

    @staticmethod
    def width(module: ClipAttention | LlamaAttention) -> int:
        return module.q_proj.out_features // module.heads if isinstance(module, ClipAttention) else module.head_dim

    def heads(self, module: ClipAttention | LlamaAttention, which: str) -> int:
        return getattr(module, which).out_features // self.width(module)

    @contextmanager
    def watch(self):
        hooks = []
        for (name, which), longest in self.longest.items():
            longest.zero_()

            def record(_module, _inputs, output: Tensor, longest: Tensor = longest) -> None:
                lengths = output.detach().float().unflatten(-1, (len(longest), -1)).norm(dim=-1)
                torch.maximum(longest, lengths.flatten(0, -2).amax(0), out=longest)

            hooks.append(getattr(self.attentions[name], which).register_forward_hook(record))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def lengths(self) -> list[Tensor]:
        return list(self.longest.values())

    @torch.no_grad()
    def apply(self) -> None:
        for name, module in self.attentions.items():
            query, key = self.longest[name, "q_proj"], self.longest[name, "k_proj"]
            group = len(query) // len(key)
            bound = query.unflatten(0, (-1, group)) * key[:, None] * self.width(module) ** -0.5
            scale = (self.limit / bound.clamp(min=1e-6)).clamp(max=1.0)  # [key heads, query heads of each]
            of_key = scale.amin(1).sqrt()
            of_query = (scale / of_key[:, None]).clamp(max=1.0).flatten()
            for projection, factor in ((module.q_proj, of_query), (module.k_proj, of_key)):
                projection.weight.unflatten(0, (len(factor), -1)).mul_(factor[:, None, None])
                if projection.bias is not None:
                    projection.bias.unflatten(0, (len(factor), -1)).mul_(factor[:, None])

    def largest(self, part: str) -> list[float]:
        """Upper bounds of the logits of the layers whose name holds `part`."""
        found = []
        for name, module in self.attentions.items():
            if part in name:
                query, key = self.longest[name, "q_proj"], self.longest[name, "k_proj"]
                bound = query.unflatten(0, (len(key), -1)) * key[:, None] * self.width(module) ** -0.5
                found.append(float(bound.max()))
        return found


@torch.no_grad()
def fusion_statistics(model: LlavaMini, pictures: Tensor, ids: Tensor, lengths: Tensor) -> str:
    """Entropies (nats) of the last prompt rows' attention in each pre-fusion layer, and rms of rows."""
    visual, trace = model.encode(to_pixels(pictures)), Trace()
    model(visual, ids, lengths[..., 0], trace)
    last = trace.place.take_along_dim(lengths[..., :1] - 1, 2)[:, None, :, :, None]  # [B, 1, Q, 1, 1]
    entropies = []
    for queries, keys, (seen, _) in zip(trace.queries, trace.keys, visual.past):
        shape = (len(pictures), -1, ids.shape[1])
        query = queries.unflatten(0, shape)[:, 0].transpose(1, 2).take_along_dim(last, 3)[..., 0, :]  # [B, H, Q, d]
        groups = query.shape[1] // seen.shape[1]
        logits = torch.einsum("bhqd,bhrd->bhqr", query, seen.repeat_interleave(groups, 1)) * query.shape[-1] ** -0.5
        entropies.append(float(torch.distributions.Categorical(logits=logits.float()).entropy().mean()))
    rms = {
        "fused": trace.rows,
        "vision tokens": visual.tokens,
        "patches": visual.patches,
        "embeddings": model.model.embed_tokens.weight,
    }
    sizes = ", ".join(f"{name} {float(rows.float().square().mean().sqrt()):.2f}" for name, rows in rms.items())
    return f"entropy over visual rows {' '.join(f'{e:.1f}' for e in entropies)}; rms: {sizes}"


# ------------------------------------------------------------------------------- held-out answers


class HeldOut:
    """Cases of evaluate.py's table, answered by teacher forcing: the argmax of every answer token has to be right,
    which is when greedy decoding gives exactly the answer. Stricter than evaluate.py, and quick."""

    def __init__(self, chat: Chat, cases: int, workers: int):
        self.chat, self.cases = chat, cases
        table = {label: replace(suite, frames=(8,)) for label, suite in suites().items() if "5, 7" not in label}
        self.labels = list(table)
        jobs = [(label, suite, index) for label, suite in table.items() for index in range(10_000, 10_000 + cases)]
        self.executor = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
        self.rendered = self.executor.map(make_case, *zip(*jobs), chunksize=4)
        self.batches: dict[str, list[tuple]] = {}

    def prepare(self, device: str) -> None:
        for label in self.labels:
            groups = defaultdict(list)
            for case in islice(self.rendered, self.cases):
                groups[None if case.parts is None else case.parts.shape].append(case)
            self.batches[label] = [self.batch(group, device) for group in groups.values()]
        self.executor.shutdown(wait=False)

    def batch(self, cases: list, device: str) -> tuple[Tensor | None, Tensor, Tensor]:
        ids, lengths = torch.zeros(len(cases), 1, LENGTH, dtype=torch.long), torch.zeros(len(cases), 1, 2, dtype=torch.long)
        for row, case in enumerate(cases):
            asked = case.conversation
            prompt = self.chat.prompt(asked.question, asked.history, case.parts is not None)
            whole = prompt + self.chat.answer(asked.answer)
            ids[row, 0, : len(whole)] = torch.tensor(whole)
            lengths[row, 0] = torch.tensor((len(prompt), len(whole)))
        parts = None if cases[0].parts is None else torch.from_numpy(np.stack([case.parts for case in cases])).to(device)
        return parts, ids.to(device), lengths.to(device)

    @torch.no_grad()
    def accuracies(self, model: LlavaMini) -> dict[str, float]:
        result = {}
        for label, batches in self.batches.items():
            right = 0
            for parts, ids, lengths in batches:
                visual = None if parts is None else model.encode(to_pixels(parts))
                found = model(visual, ids, lengths[..., 0])[:, :, :-1].argmax(-1)
                place = torch.arange(1, LENGTH, device=ids.device)
                asked = (place >= lengths[..., :1]) & (place < lengths[..., 1:])
                right += int(((found == ids[..., 1:]) | ~asked).all(-1).sum())
            result[label] = right / self.cases
        return result
