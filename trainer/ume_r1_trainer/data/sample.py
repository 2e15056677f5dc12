"""Sample: section 2's draw of pairs to be annotated: 50,000 of each of MMEB's 20 data sets, and the rest.

Of the draw itself the paper says only the number; here it is uniform without replacement, by seed and name
of the data set, so that adding a source does not change what is drawn from another.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from ume_r1_rag.errors import ConfigError
from ume_r1_trainer.data.record import SIDES, content_of, place_blank
from ume_r1_trainer.data.rows import to_line
from ume_r1_trainer.data.sources import UNREADABLE, Source

PAPER_CAPS: Final[Mapping[str, int]] = {"mmeb": 50_000}
"""Rows of each data set by kind; of other kinds all are taken."""

_EXAMPLES = 5


@dataclass(slots=True)
class SampleReport:
    """What ``sample`` wrote.

    Attributes:
        written: pairs.
        failed: drawn rows that cannot be used; ``NAME.failed.jsonl`` lists them.
        examples: the first of these.
        datasets: name → ``available``, ``written`` and ``failed``.
        settings: seed and caps.
    """

    written: int = 0
    failed: int = 0
    examples: list[str] = field(default_factory=list)
    datasets: dict[str, dict[str, int]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


def sample(
    sources: Sequence[Source],
    output: Path,
    media: Path,
    *,
    caps: Mapping[str, int] = PAPER_CAPS,
    seed: int = 0,
    check_media: bool = True,
    progress: bool = False,
) -> SampleReport:
    """Writes pairs to be annotated, data set by data set; returns a report, also written beside them.

    Args:
        sources: see ``sources.open_sources``.
        output: a ``.jsonl``.
        media: where media paths start; gets the blank picture if it lacks it.
        caps: kind → most pairs of one data set.
        seed: of the draw.
        check_media: leave out pairs whose media are absent.
        progress: show a bar on standard error.

    Raises:
        ConfigError: there is no source, two have one name, or an option cannot work.
        FetchError: the Hub breaks off.
    """
    if output.suffix != ".jsonl":
        raise ConfigError(f"{output} must be a .jsonl")
    if any(cap < 1 for cap in caps.values()):
        raise ConfigError(f"caps {dict(caps)} must be positive")
    names = [source.dataset for source in sources]
    if not names or len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ConfigError(
            f"two sources have {', '.join(twice)}" if twice else "there is no data set to sample"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    place_blank(media)
    report = SampleReport(settings={"seed": seed, "caps": dict(caps)})
    plan = {source.dataset: _picks(source, caps.get(source.kind), seed) for source in sources}
    failures = output.with_suffix(".failed.jsonl")
    parts = [path.with_name(f"{path.name}.part") for path in (output, failures)]
    total = sum(map(len, plan.values()))
    with (
        parts[0].open("w", encoding="utf-8") as file,
        parts[1].open("w", encoding="utf-8") as failed,
        tqdm(total=total, desc="sampling", unit=" pairs", disable=not progress) as bar,
    ):
        for source in sources:
            counts = report.datasets[source.dataset] = {"available": len(source), "written": 0, "failed": 0}
            for identity, drawn in source.draw(plan[source.dataset]):
                bar.update()
                why = str(drawn) if isinstance(drawn, Exception) else _absent(drawn, media, check_media)
                if why or isinstance(drawn, Exception):
                    counts["failed"] += 1
                    report.examples += [f"{identity}: {why}"] if len(report.examples) < _EXAMPLES else []
                    failed.write(to_line({"id": identity, "why": why}))
                    continue
                file.write(to_line(drawn))
                counts["written"] += 1
    report.written = sum(counts["written"] for counts in report.datasets.values())
    report.failed = sum(counts["failed"] for counts in report.datasets.values())
    _finish(output, failures, parts, report)
    return report


def _picks(source: Source, cap: int | None, seed: int) -> Sequence[int]:
    count = len(source)
    # A row that cannot even be assigned to a data set is reported, not drawn by chance.
    if cap is None or cap >= count or source.dataset == UNREADABLE:
        return range(count)
    return sorted(random.Random(f"{seed}/{source.dataset}").sample(range(count), cap))


def _absent(record: Mapping[str, Any], media: Path, check: bool) -> str:
    """Returns which media of a pair are absent; empty if none."""
    if not check:
        return ""
    sides = [content_of(record[side], side) for side in SIDES]
    paths = [path for side in sides for path in (*side.images, *side.frames)]
    absent = [path for path in paths if not (media / path).is_file()]
    return f"no file {', '.join(absent[:3])} under {media}" if absent else ""


def _finish(output: Path, failures: Path, parts: Sequence[Path], report: SampleReport) -> None:
    parts[0].replace(output)
    if report.failed:
        parts[1].replace(failures)
    else:
        parts[1].unlink()
        failures.unlink(missing_ok=True)
    text = json.dumps(asdict(report), ensure_ascii=False, indent=2)
    output.with_suffix(".report.json").write_text(text + "\n", encoding="utf-8")
