"""Trains the tiny model on pictures and videos that are rendered while it trains.

    python tokenizer.py start
    python train.py start checkpoint --minutes 15                              (one GPU)
    torchrun --standalone --nproc_per_node 2 train.py start checkpoint --minutes 15

Worker processes render; the newest pictures are kept in pools of uint8 tensors on the GPU, from which
the steps draw. The length of a run is a time; the learning rate follows the elapsed share of it. A run that gets
SIGTERM saves its weights and ends; --state names a file with everything that is needed to go on.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from aids import ChangeReader, PatchReader, RowReader, TokenReader, attention_loss
from clip import ClipBlock
from config import Config
from data import CLIP_LENGTHS, KINDS, Batches, Pool, Renderer
from llama import LlamaBlock
from model import LlavaMini, Trace
from muon import Muon
from preprocess import to_pixels
from probe import HeldOut, LogitLimit, fusion_statistics
from tokenizer import STOP_TOKENS, Chat

TICK = 40  # steps between looks at the clock and at attention logits
LOGIT_LIMIT = 50.0


def answer_loss(logits: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
    """Mean cross entropy of the answer tokens. logits [B, Q, L, V], ids [B, Q, L], lengths [B, Q, 2]."""
    place = torch.arange(1, ids.shape[-1], device=ids.device)
    target = ids[..., 1:].masked_fill((place < lengths[..., :1]) | (place >= lengths[..., 1:]), -100)
    return F.cross_entropy(logits[:, :, :-1].flatten(0, 2).float(), target.flatten(), ignore_index=-100)


def mixture(stage: int, progress: float) -> dict[str, float]:
    """Shares of the kinds of steps. In the first stage single pictures come first."""
    if stage == 2:
        return {"image": 0.42, "video": 0.35, "large": 0.20, "text": 0.03}
    if progress < 0.25:
        return {"image": 0.78, "video": 0.2, "text": 0.02}
    return {"image": 0.52, "video": 0.26, "large": 0.20, "text": 0.02}


def rate_factor(progress: float, decay: float, warm_up: float = 0.01) -> float:
    """Warm-up, stable, linear decay to nearly nothing."""
    return min(1.0, (progress + 1e-4) / warm_up, max(0.0, 1 - progress) / decay + 2e-3)


def aid_factor(progress: float) -> float:
    """Little at first, while the aids' new heads know nothing; then falling, so that the answers decide at the end."""
    return min(1.0, 0.02 + progress / 0.03) * max(0.2, 0.9 - progress)


class Trained(nn.Module):
    """The model and the training aids' heads, with all gradients in one flat buffer."""

    def __init__(self, model: LlavaMini, device: str):
        super().__init__()
        clip = model.model.vision_tower["vision_tower"]["vision_model"]
        for unused in (*clip.encoder["layers"][clip.blocks_run :], clip.post_layernorm):
            unused.requires_grad_(False)
        self.model = model
        self.patches = PatchReader(model.config.mm_hidden_size)
        self.rows = RowReader(model.config.hidden_size)
        self.tokens = TokenReader(model.config.hidden_size)
        self.changes = ChangeReader(model.config.hidden_size)
        self.to(device)
        self.learned = [p for p in self.parameters() if p.requires_grad]
        self.gradient = torch.zeros(sum(p.numel() for p in self.learned), device=device)
        for parameter, piece in zip(self.learned, self.gradient.split([p.numel() for p in self.learned])):
            parameter.grad = piece.view_as(parameter)

    def losses(self, kind: str, batch: list[Tensor]) -> dict[str, Tensor]:
        *looks, ids, lengths, referents = batch
        if kind == "text":
            return {"answers": answer_loss(self.model(None, ids, lengths[..., 0]), ids, lengths)}
        pictures, labels, contents = looks
        pixels = to_pixels(pictures)
        strength = 0.08 * torch.rand(len(pixels), 1, 1, 1, 1, 1, device=pixels.device)
        visual, trace = self.model.encode(pixels + strength * torch.randn_like(pixels)), Trace()
        losses = {"answers": answer_loss(self.model(visual, ids, lengths[..., 0], trace), ids, lengths)}
        frames = labels.flatten(0, 1)[:, None] if kind == "video" else labels  # [B*T, S, 24, 24, 9]
        losses["patches"] = 0.3 * self.patches.loss(visual, labels)
        losses["tokens"] = 0.3 * self.tokens.loss(visual, frames[:, -1])
        losses["looking"] = 0.08 * attention_loss(trace, visual, frames, referents, slots=kind != "video")
        if kind == "video":
            losses["changes"] = 0.3 * self.changes.loss(trace, labels)
        else:
            losses["rows"] = 0.3 * self.rows.loss(trace, contents, referents)
        return losses


class Pass:
    """Forward and backward pass over batches of one shape: leaves gradients and returns the losses.

    On a GPU it is recorded once as a CUDA graph, since a model of this size is bound by kernel launches.
    """

    def __init__(self, trained: Trained, kind: str, batch: list[Tensor], aid_weight: Tensor, memory):
        self.trained, self.kind, self.aid_weight = trained, kind, aid_weight
        self.batch = [tensor.clone() for tensor in batch]
        self.graph = None
        if memory is not None:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(2):
                    self.compute()
            torch.cuda.current_stream().wait_stream(stream)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph, pool=memory):
                self.losses = self.compute()

    def compute(self) -> dict[str, Tensor]:
        self.trained.gradient.zero_()
        with torch.autocast(self.trained.gradient.device.type, torch.bfloat16):
            losses = self.trained.losses(self.kind, self.batch)
            aids = sum(loss for name, loss in losses.items() if name != "answers")
            total = losses["answers"] + self.aid_weight * aids
        total.backward()
        return {name: loss.detach() for name, loss in losses.items()}

    def __call__(self, batch: list[Tensor]) -> dict[str, Tensor]:
        for kept, new in zip(self.batch, batch):
            kept.copy_(new)
        if self.graph is None:
            return self.compute()
        self.graph.replay()
        return {name: loss.clone() for name, loss in self.losses.items()}


def make_optimizers(trained: Trained, rate: float, device: str) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for embeddings, heads, norms and biases."""
    matrices, embeddings, others = [], [], []
    for name, parameter in trained.named_parameters():
        if parameter.requires_grad:
            is_matrix = parameter.dim() == 2 and name.startswith("model.model") and not any(p in name for p in ("embed", "query"))
            (matrices if is_matrix else embeddings if "embed" in name else others).append(parameter)
    groups = [{"params": embeddings, "lr": 2 * rate}, {"params": others, "lr": rate}]
    adam = torch.optim.AdamW(groups, betas=(0.9, 0.97), weight_decay=0.0, fused=device != "cpu")
    optimizers = [Muon(matrices, lr=10 * rate, weight_decay=0.1), adam]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def compile_blocks(model: LlavaMini) -> None:
    """Compiles what lies around the attention, once for all blocks and batch shapes."""
    torch._dynamo.config.recompile_limit = 64
    for module in model.modules():
        if isinstance(module, ClipBlock):
            module.compile(dynamic=True)
        elif isinstance(module, LlamaBlock):
            module.before_attention = torch.compile(module.before_attention, dynamic=True)
            module.after_attention = torch.compile(module.after_attention, dynamic=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("start", type=Path, help="folder that holds the tokenizer")
    parser.add_argument("folder", type=Path, help="the checkpoint folder to write")
    parser.add_argument("--weights", type=Path, help="checkpoint folder to begin with, instead of random weights")
    parser.add_argument("--stage", type=int, choices=(1, 2), default=1, help="2: more videos, from the beginning on")
    parser.add_argument("--state", type=Path, help="file with weights, optimizer states and elapsed time; read if it is there")
    parser.add_argument("--minutes", type=float, default=15.0, help="of training, without compiling")
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate of AdamW; Muon's is ten times that")
    parser.add_argument("--decay", type=float, default=0.6, help="share of the run, at its end, in which the rates fall")
    parser.add_argument("--frames", type=int, default=48, help="pictures or video frames of a step and GPU, a multiple of 48")
    parser.add_argument("--asked", type=int, default=6, help="conversations about a picture in a step")
    parser.add_argument("--workers", type=int, default=15, help="that render, for each GPU")
    parser.add_argument("--pool", type=int, default=48000, help="pictures kept for drawing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--held-out", type=int, default=24, help="held-out cases of each row to watch")
    parser.add_argument("--watch-every", type=float, default=60.0, help="seconds between looks at the held-out cases")
    parser.add_argument("--stop-below", type=float, default=0.0, help="stop at 210 s if colour is answered less well")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--graphs", action=argparse.BooleanOptionalAction, default=True)
    return parser.parse_args()


def fill_forever(pools: dict[str, Pool], chunks: Iterator, device: str) -> None:
    """Copies rendered chunks into the pools, beside the training stream, which must not wait for the copies."""
    if device == "cpu":
        for kind, *chunk in chunks:
            pools[kind].add(*chunk)
        return
    torch.cuda.set_device(device)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for kind, *chunk in chunks:
            pools[kind].add(*(array.pin_memory() for array in chunk), finish=stream.synchronize)


class Run:
    """One training run on this process's GPU, in step with the other processes' ones."""

    def __init__(self, args: argparse.Namespace):
        self.args, self.begin = args, time.time()
        self.rank, self.ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        device = self.device = f"cuda:{self.rank}" if args.device == "cuda" else args.device
        if args.device == "cuda":
            torch.cuda.set_device(self.rank)
        if self.ranks > 1:
            dist.init_process_group("nccl" if args.device == "cuda" else "gloo")
        chat = Chat(args.start)
        self.held_out = HeldOut(chat, args.held_out, args.workers) if self.rank == 0 else None
        torch.manual_seed(args.seed)
        if args.weights:
            self.model = LlavaMini.load(args.weights).train()
        else:
            self.model = self.new_model(chat)
        self.trained = Trained(self.model, device)
        self.optimizers = make_optimizers(self.trained, args.rate, device)
        self.limit = LogitLimit(self.model, LOGIT_LIMIT)
        self.step, self.elapsed = 0, 0.0
        if args.state and args.state.exists():
            self.load_state()
        self.say(f"{sum(p.numel() for p in self.model.parameters()) / 1e6:.2f} M parameters, {self.ranks} processes")
        torch.manual_seed(1000 * args.seed + 100 * self.step + self.rank)
        sizes = {"image": args.pool, "large": args.pool // 8, "video": args.pool // 16}
        self.pools = {kind: Pool(sizes[kind], KINDS[kind][0], device) for kind in KINDS}
        self.batches = Batches(chat, self.pools, args.frames, args.asked, device, args.seed)
        seed = f"{args.seed} {self.rank} {self.step}"
        loader = DataLoader(Renderer(args.start, seed), batch_size=None, num_workers=args.workers, prefetch_factor=4)
        chunks = iter(loader)  # the workers begin
        if args.compile:
            compile_blocks(self.model)
        self.aid_weight = torch.tensor(1.0, device=device)
        memory = torch.cuda.graph_pool_handle() if device != "cpu" and args.graphs else None
        shapes = [("image", 1), ("large", 1), ("text", 1)] + [("video", frames) for frames in CLIP_LENGTHS]
        self.passes = {
            shape: Pass(self.trained, shape[0], self.batches.draw(*shape), self.aid_weight, memory) for shape in shapes
        }
        # Only now: copies to the GPU would break the recording of the passes.
        threading.Thread(target=fill_forever, args=(self.pools, chunks, self.device), daemon=True).start()
        if self.held_out:
            self.held_out.prepare(device)
        while any(pool.rendered < 4 for pool in self.pools.values()):
            time.sleep(0.1)
        self.say(f"{time.time() - self.begin:.0f} s: passes ready, rendered {self.counts()}")

    @staticmethod
    def new_model(chat: Chat) -> LlavaMini:
        stops = [chat.tokenizer.token_to_id(token) for token in STOP_TOKENS]
        model = LlavaMini(Config(chat.tokenizer.get_vocab_size(), chat.bos, stops))
        model.initialise()
        return model

    def say(self, text: str) -> None:
        if self.rank == 0:
            print(text, flush=True)

    def counts(self) -> str:
        return ", ".join(f"{kind} {pool.rendered}" for kind, pool in self.pools.items())

    def load_state(self) -> None:
        state = torch.load(self.args.state, map_location=self.device)
        self.trained.load_state_dict(state["trained"])
        for optimizer, kept in zip(self.optimizers, state["optimizers"]):
            optimizer.load_state_dict(kept)
        self.step, self.elapsed = state["step"], state["elapsed"]

    def save(self) -> None:
        if self.rank == 0:
            for file in self.args.start.glob("*token*.json"):
                self.args.folder.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, self.args.folder)
            self.model.save(self.args.folder)
            if self.args.state:
                optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
                state = {"trained": self.trained.state_dict(), "optimizers": optimizers, "step": self.step, "elapsed": self.elapsed}
                torch.save(state, self.args.state.with_suffix(".new"))
                self.args.state.with_suffix(".new").rename(self.args.state)

    def agree(self, value: float) -> float:
        """The first process's value."""
        if self.ranks == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.broadcast(tensor, 0)
        return float(tensor)

    @torch.compiler.set_stance("force_eager")
    def limit_logits(self) -> None:
        pictures, _, _, ids, lengths, _ = (tensor[:4] for tensor in self.batches.draw("image", 1))
        with self.limit.watch(), torch.no_grad(), torch.autocast(self.args.device, torch.bfloat16):
            self.model(self.model.encode(to_pixels(pictures)), ids, lengths[..., 0])
        if self.ranks > 1:
            longest = torch.cat(self.limit.lengths())
            dist.all_reduce(longest, dist.ReduceOp.MAX)
            for kept, new in zip(self.limit.lengths(), longest.split([len(kept) for kept in self.limit.lengths()])):
                kept.copy_(new)
        self.limit.apply()

    @torch.compiler.set_stance("force_eager")
    def look(self) -> dict[str, float]:
        """Prints statistics and the held-out accuracies (first process)."""
        if self.rank != 0:
            return {}
        with torch.autocast(self.args.device, torch.bfloat16):
            pictures, _, _, ids, lengths, _ = (tensor[:4] for tensor in self.batches.draw("image", 1))
            print("  " + fusion_statistics(self.model, pictures, ids, lengths))
            for part in ("prefusion", "model.layers", "vision"):
                print(f"  logits of {part} at most {' '.join(f'{bound:.0f}' for bound in self.limit.largest(part))}")
            accuracies = self.held_out.accuracies(self.model)
        print("  held out: " + ", ".join(f"{label} {100 * right:.0f}" for label, right in accuracies.items()), flush=True)
        return accuracies

    def update(self) -> None:
        """One optimizer step from the gradients of all processes."""
        if self.ranks > 1:
            dist.all_reduce(self.trained.gradient)
        gradient = self.trained.gradient
        gradient.mul_((1 / self.ranks / (gradient.norm() / self.ranks).clamp(min=1.0)))
        for optimizer in self.optimizers:
            optimizer.step()

    def train(self) -> None:
        args, seconds = self.args, 60 * self.args.minutes
        stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        rng = random.Random(f"steps {args.seed} {self.step}")
        losses: dict[str, list[Tensor]] = {}
        start, first_step = time.time() - self.elapsed, self.step
        next_look, next_report, next_save, checked = self.elapsed + 30.0, self.elapsed, self.elapsed + 30.0, self.elapsed > 210
        while True:
            if (self.step - first_step) % TICK == 0:
                self.elapsed = self.agree(seconds if stop.is_set() else time.time() - start)
                if self.elapsed >= seconds:
                    break
                progress = self.elapsed / seconds
                for optimizer in self.optimizers:
                    for group in optimizer.param_groups:
                        group["lr"] = group["peak"] * rate_factor(progress, args.decay)
                self.aid_weight.fill_(aid_factor(progress))
                self.limit_logits()
                if self.elapsed >= next_report:
                    means = ", ".join(f"{k} {torch.stack(v[-200:]).mean():.3f}" for k, v in sorted(losses.items()))
                    self.say(f"{self.elapsed:5.0f} s  step {self.step}  loss: {means}  rendered: {self.counts()}")
                    next_report, losses = self.elapsed + 15, {}
                if self.elapsed >= next_save:
                    if self.ranks > 1:  # rounding must not let the processes drift apart
                        for parameter in self.trained.learned:
                            dist.broadcast(parameter.data, 0)
                    self.save()
                    next_save = self.elapsed + 45
                if self.elapsed >= next_look:
                    colour = self.agree(self.look().get("colour", 0.0))
                    next_look = self.elapsed + args.watch_every
                    if self.elapsed > 210 and not checked:
                        checked = True
                        if colour < args.stop_below:
                            self.say("stopped: lookups do not rise")
                            break
            shares = mixture(args.stage, progress)
            kind = rng.choices(list(shares), list(shares.values()))[0]
            frames = rng.choice(CLIP_LENGTHS) if kind == "video" else 1
            for name, loss in self.passes[kind, frames](self.batches.draw(kind, frames)).items():
                losses.setdefault(kind if name == "answers" else name, []).append(loss)
            self.update()
            self.step += 1
        self.save()
        self.say(f"{self.step} steps in {time.time() - start:.0f} s")
        self.look()
        if args.device == "cuda":
            self.say(f"at most {torch.cuda.max_memory_allocated() / 2**30:.0f} GiB of GPU memory")


def main() -> None:
    sys.setswitchinterval(2e-4)  # the thread that fills the pools must not keep the steps waiting
    Run(parse_arguments()).train()
    sys.stdout.flush()
    os._exit(0)  # the rendering workers and their queues need no farewell


if __name__ == "__main__":
    main()
