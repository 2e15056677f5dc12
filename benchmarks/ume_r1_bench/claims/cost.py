"""Cost: how many inputs a second disc and gen take, on a task's own inputs; the paper's Table 4.

Both get the same distinct inputs, as many at once as asked for and the next as many when those are done: a
batch of 8, as in the paper's table. A first wave of each is not timed; reading the files is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ume_r1_rag.errors import UmeR1Error
from ume_r1_rag.types import Embedding, MultimodalInput

if TYPE_CHECKING:
    from ume_r1_bench.mmeb.row import TaskData
    from ume_r1_rag.types import Encoder, Mode


@dataclass(frozen=True, slots=True)
class CostRow:
    """One task at one concurrency.

    Attributes:
        task: its name.
        concurrency: inputs at once.
        inputs: how many were timed, of each mode.
        disc: inputs a second.
        gen: inputs a second.
        tokens: decoded a gen input.
        valid: share of generations that ended well.
        why: why there is nothing.
    """

    task: str
    concurrency: int
    inputs: int = 0
    disc: float = 0.0
    gen: float = 0.0
    tokens: float = 0.0
    valid: float = 0.0
    why: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times as fast disc is."""
        return self.disc / self.gen if self.gen else None


def measure_cost(
    encoder: Encoder,
    load: Callable[[str], TaskData],
    tasks: Sequence[str],
    concurrency: Sequence[int],
    *,
    limit: int = 512,
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[CostRow]:
    """Yields a row for each task and concurrency; a task that cannot be read has its reason.

    Args:
        encoder: what encodes.
        load: reads a task.
        tasks: names.
        concurrency: inputs at once.
        limit: inputs of a task, its queries first, candidates after them.
        tell: hears what is being done.
    """
    for task in tasks:
        try:
            items = distinct(load(task), limit)
        except UmeR1Error as error:
            yield from (CostRow(task, many, why=str(error)) for many in concurrency)
            continue
        for many in concurrency:
            tell(f"{task}, {many} at once: {len(items)} inputs")
            try:
                yield _row(encoder, task, items, many)
            except UmeR1Error as error:
                yield CostRow(task, many, why=str(error))


def write_cost(path: Path, rows: Sequence[CostRow], about: dict[str, Any]) -> None:
    """Writes rows and what they were measured on."""
    entries = [asdict(row) | {"ratio": row.ratio} for row in rows]
    path.write_text(json.dumps({**about, "rows": entries}, indent=2) + "\n", encoding="utf-8")


def table(rows: Sequence[CostRow]) -> str:
    """Returns rows for a terminal."""
    heads = f"{'disc/s':>8} {'gen/s':>8} {'ratio':>6} {'tokens':>7} valid"
    lines = [f"{'task':<12} {'at once':>7} {'inputs':>6} {heads}"]
    for row in rows:
        if row.why:
            lines.append(f"{row.task:<12} {row.concurrency:>7} not measured: {row.why}")
            continue
        lines.append(
            f"{row.task:<12} {row.concurrency:>7} {row.inputs:>6} {row.disc:>8.2f} {row.gen:>8.2f} "
            f"{row.ratio or 0:>6.1f} {row.tokens:>7.0f} {row.valid:.2f}"
        )
    return "\n".join(lines)


def distinct(data: TaskData, limit: int) -> list[MultimodalInput]:
    """Returns a task's inputs, queries first, each once; with visuals first, for a text is another cost."""
    items = [query.item for query in data.queries] + list(data.candidates.values())
    seen = dict.fromkeys((item.text, item.images, item.frames) for item in items)
    found = [MultimodalInput(text, images, frames or None) for text, images, frames in seen]
    shown = [item for item in found if item.images or item.video is not None]
    return (shown or found)[:limit]


def _row(encoder: Encoder, task: str, items: Sequence[MultimodalInput], many: int) -> CostRow:
    disc, _ = _rate(encoder, items, many, "disc")
    gen, made = _rate(encoder, items, many, "gen")
    count = len(made)
    tokens = sum(one.tokens.completion for one in made) / count
    valid = sum(one.gen_valid is True for one in made) / count
    return CostRow(task, many, count, disc, gen, tokens, valid)


def _rate(
    encoder: Encoder, items: Sequence[MultimodalInput], many: int, mode: Mode
) -> tuple[float, list[Embedding]]:
    def wave(some: Sequence[MultimodalInput]) -> list[Embedding]:
        found = encoder.encode_document(list(some), mode, show_progress=False, on_error="return")
        errors = [one for one in found if isinstance(one, UmeR1Error)]
        if errors:
            raise errors[0]
        return list(found)

    wave(items[:many])
    start, made = time.perf_counter(), []
    for at in range(0, len(items), many):
        made += wave(items[at : at + many])
    return len(items) / (time.perf_counter() - start), made
