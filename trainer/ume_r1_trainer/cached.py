"""Gradient caching: contrastive gradients of a whole batch in the memory of one chunk (Gao et al. 2021).

The contrastive losses of a batch of N pairs depend on all its vectors at once, everything else on one side at
a time. So: (1) encode chunk by chunk without a graph and keep the vectors, and the random states; (2) gather
all ranks' vectors, take the losses, and the gradient of them with respect to the own vectors; (3) encode
each chunk again under its random state, and send these gradients back through it, with its part of the
next-token loss. The sum over chunks and ranks is the full batch's gradient (chain rule), which
``gradient_proof`` shows. A batch of one chunk keeps its graph and needs no second time.

Considered: the ``GradCache`` package (0.0.1, abandoned) and sentence-transformers' cached losses (one vector
for each side, no joint next-token loss).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch

from ume_r1_trainer.collate import SideBatch
from ume_r1_trainer.embedder import Encoded
from ume_r1_trainer.ranks import Ranks

Encode = Callable[[SideBatch, bool], Encoded]
Backward = Callable[[torch.Tensor, bool], None]
"""Takes a scalar, and whether it is the step's last."""
Contrast = Callable[[torch.Tensor], torch.Tensor | None]
"""``(S, 2, D)`` own vectors in the order of the sides → a scalar that depends on them, or None for none."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rank's sides are cut into.

    Attributes:
        chunks: numbers of the sides of each chunk.
        idle: chunks that other ranks have more; this one goes along, because ranks that hold parts of one
            model (ZeRO-3) must call it equally often.
        whole: keep the graphs of all chunks, and encode none a second time.
        weights: ``(S,)`` factor of each side's summed next-token loss, once its tokens are counted.
    """

    chunks: Sequence[Sequence[int]]
    weights: Callable[[torch.Tensor], torch.Tensor]
    idle: int = 0
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Pass:
    """What the first pass leaves of a chunk.

    Attributes:
        encoded: its vectors, with their graph if graphs are kept.
        tokens: ``(B,)`` how many tokens of each side are predicted.
        random: the random states before it.
    """

    encoded: Encoded
    tokens: torch.Tensor
    random: tuple[torch.Tensor, torch.Tensor | None]


def accumulate(
    plan: Plan,
    read: Callable[[Sequence[int]], SideBatch],
    encode: Encode,
    contrast: Contrast,
    backward: Backward,
    ranks: Ranks,
    with_ce: bool,
) -> torch.Tensor:
    """Adds a batch's gradient to the parameters', so that its *mean* over ranks is the full batch's.

    Args:
        plan: the chunks.
        read: makes the batch of a chunk; asked twice for each, unless graphs are kept.
        encode: the model; called twice for each chunk, unless graphs are kept.
        contrast: the contrastive losses of all ranks' vectors, as a function of the own ones.
        backward: sends a scalar back.
        ranks: the processes.
        with_ce: add the next-token loss.

    Returns:
        ``(S,)`` the summed next-token loss of each side, detached.
    """
    keep = plan.whole or len(plan.chunks) + plan.idle == 1
    idle = [read(plan.chunks[0])] * plan.idle if plan.idle else []
    with nullcontext() if keep else torch.no_grad():
        for batch in idle:
            encode(batch, False)
        passed = [_first(read(chunk), encode, keep and with_ce, ranks) for chunk in plan.chunks]
    order = torch.tensor([side for chunk in plan.chunks for side in chunk], device=ranks.device)
    vectors = _in_order(torch.cat([one.encoded.vectors.detach() for one in passed]), order).requires_grad_()
    loss = contrast(vectors)
    slope = None if loss is None else torch.autograd.grad(loss, vectors)[0]
    weights = plan.weights(_in_order(torch.cat([one.tokens for one in passed]), order))
    ce = torch.zeros(len(vectors), device=ranks.device)
    for batch in idle:
        backward(_part(encode(batch, with_ce), None, weights[:0]), False)
    for number, (chunk, one) in enumerate(zip(plan.chunks, passed, strict=True)):
        encoded = one.encoded
        if not keep:
            batch = read(chunk)
            with _random_state(one.random):
                encoded = encode(batch, with_ce)
        sides = torch.tensor(chunk, device=ranks.device)
        part = _part(encoded, None if slope is None else slope[sides], weights[sides])
        backward(part * ranks.size, number == len(plan.chunks) - 1)
        if encoded.ce is not None:
            ce[sides] = encoded.ce.detach().float()
    return ce


def _first(batch: SideBatch, encode: Encode, with_ce: bool, ranks: Ranks) -> Pass:
    random = (torch.get_rng_state(), torch.cuda.get_rng_state() if ranks.device != "cpu" else None)
    return Pass(encode(batch, with_ce), (batch.labels >= 0).sum(-1), random)


def _part(encoded: Encoded, slope: torch.Tensor | None, weights: torch.Tensor) -> torch.Tensor:
    """Returns the scalar whose gradient is a chunk's; of a chunk that only goes along, 0 times everything."""
    terms = []
    if slope is not None:
        terms.append((encoded.vectors * slope).sum())
    if encoded.ce is not None and len(weights):
        terms.append((encoded.ce * weights).sum())
    if not terms:
        terms = [0 * encoded.vectors.sum()] + ([] if encoded.ce is None else [0 * encoded.ce.sum()])
    return torch.stack(terms).sum()


@contextmanager
def _random_state(state: tuple[torch.Tensor, torch.Tensor | None]) -> Iterator[None]:
    cpu, cuda = state
    with torch.random.fork_rng(devices=[] if cuda is None else [torch.cuda.current_device()]):
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda)
        yield


def _in_order(values: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    placed = torch.empty_like(values)
    placed[order] = values
    return placed
