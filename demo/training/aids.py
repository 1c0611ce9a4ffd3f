"""Training aids: extra losses on inner values of the model. None of this is part of the checkpoint.

PatchReader    each CLIP feature tells what lies under its patch
RowReader      some fused text rows tell the looks and place of a thing, or a letter of the sign
TokenReader    a vision token tells which coloured shapes there are, and where
attention_loss some heads of the pre-fusion look at what the words of the question stand for

The rows of the system prompt stand before every question, so the fused ones can only be about the picture. Twelve
of them are slots: one for each thing in the order of the description, then one for each letter of the sign.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labels import CLASSES, IGNORED, LETTERS, OBJECT, SLOTS, THING_CLASSES
from model import Trace, Visual, tiles_and_whole
from scenes import COLOURS, SHAPES

FIRST_SLOT = 8  # the prompt's row of the first slot
AIDED_LAYERS = (1, 2)  # pre-fusion layers whose attention is taught
NEVER = -1e4  # a logit that counts as minus infinity, with a gradient that stays finite


def classify(scores: Tensor, labels: Tensor, classes: tuple[int, ...], weights: list[Tensor] | None = None) -> Tensor:
    """Sum over the label channels of their mean cross entropies. scores [N, sum(classes)], labels [N, len(classes)]."""
    return sum(
        F.cross_entropy(score, label, weights[index] if weights else None, ignore_index=IGNORED)
        for index, (score, label) in enumerate(zip(scores.float().split(classes, -1), labels.unbind(-1)))
    )


def normalise(rows: Tensor) -> Tensor:
    return F.rms_norm(rows.float(), rows.shape[-1:])


class PatchReader(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.head = nn.Linear(width, sum(CLASSES))
        nn.init.zeros_(self.head.weight)
        for index, (classes, first) in enumerate(zip(CLASSES, (0.2, 0.2, 0.02, 1.0, 0.2, 0.02, 0.02))):
            weight = torch.ones(classes)
            weight[0] = first  # most patches show nothing
            self.register_buffer(f"weight{index}", weight)

    def loss(self, visual: Visual, labels: Tensor) -> Tensor:
        """labels [B, F, 24, 24, 9], as many patches as visual.patches has."""
        weights = [getattr(self, f"weight{index}") for index in range(len(CLASSES))]
        return classify(self.head(visual.patches).flatten(0, -2), labels[..., : len(CLASSES)].flatten(0, -2), CLASSES, weights)


class RowReader(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.thing = nn.Linear(width, sum(THING_CLASSES))
        self.letter = nn.Linear(width, len(LETTERS) + 1)

    def loss(self, trace: Trace, contents: Tensor, referents: Tensor) -> Tensor:
        """contents [B, SLOTS, 5] (labels.list_contents), referents [B, Q, 2, 3] (data.encode), about still pictures."""
        rows = trace.rows[:, 0]  # [B, Q, L, D]
        slots = rows[:, 0, FIRST_SLOT : FIRST_SLOT + 2 * SLOTS]
        named = rows.take_along_dim(referents[..., :1].clamp(min=0), 2).flatten(1, 2)  # [B, 2*Q, D]
        number = referents[..., 2].flatten(1, 2)[..., None]
        looks = contents[..., :4].take_along_dim((number - 1).clamp(min=0), 1).masked_fill(number == 0, IGNORED)
        letters = F.cross_entropy(self.letter(normalise(slots[:, SLOTS:])).flatten(0, 1).float(), contents[..., 4].flatten())
        things = torch.cat((slots[:, :SLOTS], named), 1)
        labels = torch.cat((contents[..., :4], looks), 1)
        return 1.5 * letters + 0.25 * classify(self.thing(normalise(things)).flatten(0, 1), labels.flatten(0, 1), THING_CLASSES)


class TokenReader(nn.Module):
    """Which (shape, colour), (shape, column), (shape, row), (colour, column) and (colour, row) a frame shows."""

    BINS = 8  # columns and rows of three patches each

    def __init__(self, width: int):
        super().__init__()
        self.head = nn.Linear(width, len(SHAPES) * len(COLOURS) + 2 * self.BINS * (len(SHAPES) + len(COLOURS)))

    def targets(self, labels: Tensor) -> Tensor:
        """labels [N, 24, 24, 9] of whole frames -> [N, classes] of 0 and 1."""
        shape, colour = labels[..., 0], labels[..., 1]
        place = torch.arange(labels.shape[1], device=labels.device) * self.BINS // labels.shape[1]
        found = []
        for first, second, width, height in (
            (shape, (colour - 1).clamp(min=0), len(SHAPES), len(COLOURS)),
            (shape, place.expand_as(shape), len(SHAPES), self.BINS),
            (shape, place[:, None].expand_as(shape), len(SHAPES), self.BINS),
            (colour, place.expand_as(shape), len(COLOURS), self.BINS),
            (colour, place[:, None].expand_as(shape), len(COLOURS), self.BINS),
        ):
            seen = torch.zeros(len(labels), (width + 1) * height, device=labels.device)
            seen.scatter_(1, (first * height + second).flatten(1), 1.0)
            found.append(seen[:, height:])
        return torch.cat(found, 1)

    def loss(self, visual: Visual, labels: Tensor) -> Tensor:
        """labels [N, 24, 24, 9] of the whole frames, N = B*T."""
        scores = self.head(normalise(visual.tokens)).float().flatten(0, 1)
        return 20 * F.binary_cross_entropy_with_logits(scores, self.targets(labels))


def looks_at(trace: Trace, visual: Visual, layer: int, group: int, rows: Tensor, wanted: Tensor) -> Tensor:
    """Mean of -log(share of attention on the wanted visual rows), over those rows of text that want any.

    The query heads of one key head (group). rows [B*T, Q', K] in text order, wanted [B*T, Q', K, R]; Q' conversations
    of each picture are looked at, the first ones.
    """
    frames, asked, count = rows.shape
    seen = visual.past[layer][0][:, group].float()  # [B*T, R, d]
    heads = trace.queries[layer].shape[1] // trace.keys[layer].shape[1]
    queries = trace.queries[layer].unflatten(0, (frames, -1))[:, :asked, group * heads : (group + 1) * heads].float()
    keys = trace.keys[layer].unflatten(0, (frames, -1))[:, :asked, group].float()  # [B*T, Q', L, d]
    place = trace.place[:, :asked].repeat_interleave(visual.frames, 0).take_along_dim(rows, 2)  # [B*T, Q', K]
    queries = queries.take_along_dim(place[:, :, None, :, None], 3) * queries.shape[-1] ** -0.5
    to_seen = torch.einsum("nqhkd,nrd->nqhkr", queries, seen)
    to_text = torch.einsum("nqhkd,nqld->nqhkl", queries, keys)
    later = torch.arange(keys.shape[2], device=rows.device) > place[..., None]
    to_text = to_text.masked_fill(later[:, :, None], NEVER)
    share = torch.cat((to_seen, to_text), -1).logsumexp(-1) - to_seen.masked_fill(~wanted[:, :, None], NEVER).logsumexp(-1)
    valid = wanted.any(-1)[:, :, None].expand_as(share)
    return (share * valid).sum() / valid.sum().clamp(min=1)


def attention_loss(trace: Trace, visual: Visual, labels: Tensor, referents: Tensor, slots: bool) -> Tensor:
    """labels [B*T, S, 24, 24, 9], referents [B, Q, 2, 3]; slots: still pictures, where the slots' attention is taught too."""
    shown = tiles_and_whole(labels[..., OBJECT:].flatten(2, 3))
    shown = F.pad(shown, (0, 0, 0, visual.past[0][0].shape[2] - shown.shape[1]))  # nothing at the compressed rows
    things = torch.where(shown[..., 0] > 0, 1 << (shown[..., 0] - 1).clamp(min=0), 0)  # [B*T, R], bits
    meant = referents.repeat_interleave(visual.frames, 0)
    wanted = (meant[..., 1, None] & things[:, None, None]) != 0
    total = 0.0
    with torch.autocast(labels.device.type, enabled=False):
        for layer in AIDED_LAYERS:
            total = total + looks_at(trace, visual, layer, 0, meant[..., 0], wanted)
            if slots:
                bit = 1 << torch.arange(SLOTS, device=labels.device)[:, None]
                slot = torch.cat(((things[:, None] & bit) != 0, (shown[:, None, :, 1] & bit) != 0), 1)[:, None]
                rows = torch.arange(FIRST_SLOT, FIRST_SLOT + 2 * SLOTS, device=labels.device).expand(len(things), 1, -1)
                total = total + looks_at(trace, visual, layer, 1, rows, slot)
    return total


class ChangeReader(nn.Module):
    """A vision token in the middle of the LLM tells what has changed since the frame before.

    Coloured shapes that are new, are gone, have moved; and left, right, up, down.
    """

    LAYER = 1
    LEAST = 0.2  # patches of movement that count

    def __init__(self, width: int):
        super().__init__()
        self.names = len(SHAPES) * len(COLOURS)
        self.head = nn.Linear(width, 3 * self.names + 4)

    def targets(self, labels: Tensor) -> Tensor:
        """labels [B, T, 24, 24, 9] -> [B, T - 1, classes] of 0 and 1."""
        shape, colour, number = labels[..., 0], labels[..., 1], labels[..., OBJECT]
        name = torch.where(shape > 0, (shape - 1) * len(COLOURS) + colour, 0).flatten(2)  # 1 and up, [B, T, P]
        shown = torch.zeros(*name.shape[:2], self.names + 1, device=labels.device).scatter_(2, name, 1.0)[..., 1:]
        new, gone = shown[:, 1:] * (1 - shown[:, :-1]), shown[:, :-1] * (1 - shown[:, 1:])
        mask = (number[..., None] == torch.arange(1, SLOTS + 1, device=labels.device)).float().flatten(2, 3)  # [B, T, P, 6]
        size = mask.sum(2)
        place = torch.arange(labels.shape[2], device=labels.device, dtype=torch.float32)
        across, down = place.repeat(len(place)), place.repeat_interleave(len(place))
        centre = torch.stack([torch.einsum("btpn,p->btn", mask, axis) / size.clamp(min=1) for axis in (across, down)], -1)
        step = (centre[:, 1:] - centre[:, :-1]) * ((size[:, 1:] > 0) & (size[:, :-1] > 0))[..., None]  # [B, T-1, 6, 2]
        ways = torch.cat((-step, step), -1) > self.LEAST  # left, up, right, down
        named = (mask * name[..., None]).amax(2).long()[:, 1:] * ways.any(-1)  # [B, T-1, 6]
        moved = torch.zeros(*named.shape[:2], self.names + 1, device=labels.device).scatter_(2, named, 1.0)[..., 1:]
        return torch.cat((new, gone, moved, ways.any(2).float()), -1)

    def loss(self, trace: Trace, labels: Tensor) -> Tensor:
        with torch.autocast(labels.device.type, enabled=False):
            targets = self.targets(labels)
        scores = self.head(normalise(trace.video[self.LAYER][:, 1:])).float()
        return 20 * F.binary_cross_entropy_with_logits(scores, targets)
