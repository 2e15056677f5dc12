"""The figures of the parity proof, and the table that shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Forced:
    """Greatest absolute differences of L2-normalised vectors on identical token ids, float32.

    Attributes:
        inputs: how many were compared.
        same_prompts: for how many our prompt's ids are the plain processor's.
        disc: ours against the plain forward.
        gen: ours, decoded with a cache in padded batches, against the plain forward.
        no_think: the same with ``think="none"``.
        disc_of_both: disc of a gen request against the disc-only one.
    """

    inputs: int
    same_prompts: int
    disc: float
    gen: float
    no_think: float
    disc_of_both: float


@dataclass(frozen=True, slots=True)
class Free:
    """Gen vectors of free generations against mteb's, one input at a time.

    Attributes:
        name: of the comparison.
        kinds: kinds of input that were comparable.
        cosines: ``(comparable,)`` float32.
        unmarked: inputs for which mteb's model wrote no marker, or wrote it last, where it has no state.
        answered: for how many of those ours is right: flagged in the first case, complete in the second.
        same_texts: for how many of all inputs both wrote the same tokens.
    """

    name: str
    kinds: frozenset[str]
    cosines: Vector
    unmarked: int
    answered: int
    same_texts: int

    @property
    def inputs(self) -> int:
        """How many inputs there were."""
        return len(self.cosines) + self.unmarked


@dataclass(frozen=True, slots=True)
class Batched:
    """Batches of one against left-padded batches.

    Attributes:
        dtype: of the model.
        disc: ``(inputs,)`` float32 cosines.
        gen: the same of gen.
        same_texts: for how many the model wrote the same tokens.
    """

    dtype: str
    disc: Vector
    gen: Vector
    same_texts: int


@dataclass(frozen=True, slots=True)
class ParityReport:
    """All comparisons of one checkpoint."""

    model: str
    forced: Forced
    free: tuple[Free, ...]
    batched: tuple[Batched, ...]

    def table(self) -> str:
        """Returns the figures as text."""
        forced = self.forced
        lines = [
            f"Parity of {self.model}",
            "",
            f"forced, float32, {forced.inputs} inputs: greatest difference of an L2-normalised component",
            f"  prompt ids equal             {forced.same_prompts}/{forced.inputs}",
            f"  disc, plain forward          {forced.disc:.1e}",
            f"  gen, plain forward           {forced.gen:.1e}",
            f"  gen think none, plain        {forced.no_think:.1e}",
            f"  disc of both, disc only      {forced.disc_of_both:.1e}",
            "",
            f"{'cosine':<40}{'n':>4}{'min':>10}{'1 %':>10}{'5 %':>10}{'50 %':>10}  same text  no <gen_emb>",
        ]
        for free in self.free:
            share = _share(free.same_texts, free.inputs)
            unmarked = f"  {free.unmarked}, ours right {free.answered}"
            lines.append(_row(f"gen, {free.name}", free.cosines) + share + unmarked)
        for batched in self.batched:
            share = _share(batched.same_texts, len(batched.gen))
            lines.append(_row(f"disc, batch of 1, {batched.dtype}", batched.disc))
            lines.append(_row(f"gen, batch of 1, {batched.dtype}", batched.gen) + share)
        return "\n".join(lines)


def _row(name: str, cosines: Vector) -> str:
    figures = (
        [f"{np.quantile(cosines, share):10.6f}" for share in (0.0, 0.01, 0.05, 0.5)] if len(cosines) else []
    )
    return f"{name:<40}{len(cosines):>4}{''.join(figures):<40}"


def _share(count: int, total: int) -> str:
    return f"  {f'{count}/{total}':>9}"
