"""Report: all figures of a run, kept as JSON so that a run can go on, and shown as tables."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from ume_r1_bench.speed.cell import DISC, Cell, Kind
from ume_r1_bench.speed.figure import Alike, Figure
from ume_r1_bench.speed.goal import Goal, judge
from ume_r1_bench.speed.way import ABOUT, OURS, WAYS, Way
from ume_r1_rag.errors import ConfigError

_WIDTH: Final = 98
_NAME: Final = 21
_FRAMES: Final[dict[Kind, str]] = {"text": "text", "image": "image", "video": "8 frames"}
_FAILED: Final = "failed"

NOTES: Final = """\
Each way runs in a process of its own, one at a time, by turns and each round in another order. So many
requests are handed over at once, the next ones when all are answered; latency counts from there. Every way
gets inputs of the same sizes, each once, and a checkpoint that is scripted to write exactly so many tokens,
the marker and the end last. Ratios are medians over rounds. Figures of a CPU are guards against getting
slower, no forecast for a GPU."""


@dataclass(slots=True)
class SpeedReport:
    """All figures.

    Attributes:
        figures: per cell and way.
        alike: per model and way.
        left_out: way → the package that it lacks.
        meta: machine, versions, options.
    """

    figures: dict[tuple[Cell, Way], Figure] = field(default_factory=dict)
    alike: list[Alike] = field(default_factory=list)
    left_out: dict[Way, str] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> SpeedReport:
        """Reads what ``write`` wrote.

        Raises:
            ConfigError: the file is something else.
        """
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            figures = [Figure(**{**one, "cell": Cell(**one["cell"])}) for one in found["figures"]]
            return cls(
                {(one.cell, one.way): one for one in figures},
                [Alike(**one) for one in found["alike"]],
                found["left_out"],
                found["meta"],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path} holds no figures of this benchmark: name another file") from error

    def write(self, path: Path) -> None:
        """Writes all figures, each round's and each request's seconds among them; whole or not at all."""
        kept = {
            "meta": self.meta,
            "left_out": self.left_out,
            "alike": [asdict(one) for one in self.alike],
            "figures": [asdict(one) for one in self.figures.values()],
        }
        part = path.with_name(f"{path.name}.part")
        part.write_text(json.dumps(kept) + "\n", encoding="utf-8")
        part.replace(path)

    def has(self, cell: Cell, ways: Iterable[Way]) -> bool:
        """Returns whether all of some ways were measured in a cell."""
        return all((cell, way) in self.figures and not self.figures[cell, way].failed for way in ways)

    def goals(self) -> list[Goal]:
        """Returns the goals that can be judged."""
        return judge(self._sound(), self.alike)

    def table(self) -> str:
        """Returns the figures as text of less than 100 columns."""
        parts = [self._parity()]
        pairs = dict.fromkeys((cell.model, cell.kind) for cell, _ in self.figures)
        for model, kind in pairs:
            parts += [*self._throughput(model, kind), self._apart(model, kind)]
        whole = "\n\n".join(part for part in [*parts, self._goals(), self._about()] if part)
        return "\n".join(line.rstrip() for line in whole.splitlines())

    def _sound(self) -> dict[tuple[Cell, Way], Figure]:
        return {key: one for key, one in self.figures.items() if not one.failed}

    def _parity(self) -> str:
        if not self.alike:
            return ""
        lines = [
            _head("To the card's loop: least cosine on the same ids, completions that are the same"),
            f"{'':<{_NAME}}{'':>10}{'disc':>12}{'gen':>12}{'same':>10}",
        ]
        for one in self.alike:
            row = f"{ABOUT[one.way].shown:<{_NAME}}{one.model:>10}"
            if one.failed:
                lines.append(_filled(f"{row}  failed: {one.failed}"))
                continue
            cosines = "".join(
                f"{'-' if value is None else f'{value:.7f}':>12}" for value in (one.disc, one.gen)
            )
            lines.append(f"{row}{cosines}{f'{one.same}/{one.inputs}':>10}")
        return "\n".join(lines)

    def _throughput(self, model: str, kind: Kind) -> list[str]:
        """Returns a table for each number of tokens: requests a second, to one engine, gen to disc."""
        tables = []
        cells = [cell for cell, _ in self.figures if (cell.model, cell.kind) == (model, kind)]
        for tokens in sorted({cell.tokens for cell in cells}):
            many = sorted({cell.concurrency for cell in cells if cell.tokens == tokens})
            what = f"{tokens} tokens" if tokens else "disc"
            lines = [
                _head(f"{model}, {_FRAMES[kind]}, {what}: requests/s, x one engine, gen:disc"),
                " " * _NAME + "".join(f"{f'{one} at once':>25}" for one in many),
            ]
            for way in self._ways(cells):
                row = [self._rated(Cell(model, kind, tokens, one), way) for one in many]
                if any(part.strip("- ") for part in row):
                    lines.append(f"{ABOUT[way].shown:<{_NAME}}" + "".join(row))
            tables.append("\n".join(lines))
        return tables

    def _rated(self, cell: Cell, way: Way) -> str:
        one = self.figures.get((cell, way))
        if one is None:
            return f"{'-':>12}{'':>13}"
        if one.failed:
            return f"{_FAILED:>12}{'':>13}"
        figures = self._sound()
        ours, disc = figures.get((cell, OURS)), figures.get((cell.disc, way))
        ratio = f"{one.times(ours):.2f}" if ours else "-"
        dearer = f"{disc.rate / one.rate:.1f}" if disc and cell.tokens != DISC else ""
        return f"{one.rate:>12.2f}{ratio:>7}{dearer:>6}"

    def _apart(self, model: str, kind: Kind) -> str:
        """Returns the tables of latency and processor time, a column for each cell."""
        sound = self._sound()
        cells = sorted(
            {cell for cell, _ in sound if (cell.model, cell.kind) == (model, kind)},
            key=lambda cell: (cell.tokens, cell.concurrency),
        )
        if not cells:
            return ""
        head = f"{'tokens':<{_NAME}}" + "".join(f"{cell.tokens or 'disc':>8}" for cell in cells)
        many = f"{'at once':<{_NAME}}" + "".join(f"{cell.concurrency:>8}" for cell in cells)
        ways = [way for way in self._ways(cells) if any((cell, way) in sound for cell in cells)]

        def rows(figure: Callable[[Figure], str]) -> list[str]:
            return [
                f"{ABOUT[way].shown:<{_NAME}}"
                + "".join(f"{figure(sound[cell, way]) if (cell, way) in sound else '-':>8}" for cell in cells)
                for way in ways
            ]

        batch = [
            f"{'  batches of':<{_NAME}}"
            + "".join(f"{getattr(sound.get((cell, 'card')), 'batch', None) or '':>8}" for cell in cells)
        ]
        return "\n".join(
            [
                _head(f"{model}, {_FRAMES[kind]}: p95 latency, ms"),
                head,
                many,
                *rows(lambda one: f"{one.p95_ms:.0f}"),
                "",
                _head(f"{model}, {_FRAMES[kind]}: ms of the processor a request"),
                *rows(lambda one: f"{one.cpu_ms:.1f}"),
                *(batch if "card" in ways else []),
            ]
        )

    def _ways(self, cells: Sequence[Cell]) -> list[Way]:
        return [way for way in WAYS if any((cell, way) in self.figures for cell in cells)]

    def _goals(self) -> str:
        lines = [_head("Goals")]
        for one in self.goals():
            word = "met   " if one.reached else "MISSED"
            timed = "" if one.by_processor is None else f" (by the processor in {one.by_processor})"
            lines.append(f"{word}  {one.told}, in {one.met} of {one.cells}{timed}; least: {one.worst}")
        lines += [f"left out  {ABOUT[way].shown}: {why}" for way, why in self.left_out.items()]
        failed = {(one.way, one.failed): one.cell for one in self.figures.values() if one.failed}
        lines += [f"failed  {ABOUT[way].shown} ({cell}): {why}" for (way, why), cell in failed.items()]
        return "\n".join(map(_filled, lines)) if len(lines) > 1 else ""

    def _about(self) -> str:
        meta = self.meta
        packages = ", ".join(f"{name} {version}" for name, version in meta.get("versions", {}).items())
        load = ", ".join(f"{one:.1f}" for one in meta.get("load", ()))
        told = (
            f"{meta.get('machine')}, {meta.get('threads')} threads, load {load}; {packages}; "
            f"{meta.get('dtype')}; {meta.get('rounds')} rounds of at least {meta.get('requests')} requests; "
            f"vLLM: {meta.get('engine')}; seed {meta.get('seed')}"
        )
        return "\n".join(textwrap.fill(" ".join(text.split()), _WIDTH) for text in (NOTES, told))


def _head(title: str) -> str:
    return f"{title} ".ljust(_WIDTH, "─")


def _filled(line: str) -> str:
    return textwrap.fill(line, _WIDTH, subsequent_indent=" " * 8)


def threads() -> str:
    """Returns how many threads a library takes."""
    return os.environ.get("OMP_NUM_THREADS", str(os.cpu_count()))
