"""What a run trains on: the rows of its files that are well-formed and whose media are there.

Everything is looked at before the first step: a run of days should not find at its end that a folder was
missing. The outcome is kept beside the run, so that a resumed one has the same rows without looking again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ume_r1_rag.errors import ConfigError
from ume_r1_trainer.records import BLANK, Pair, RecordError
from ume_r1_trainer.stream import Source, open_sources

logger = logging.getLogger(__name__)


class DataFault(RecordError):
    """Rows of the data cannot be used.

    Attributes:
        report: the file that lists them all.
    """

    def __init__(self, message: str, report: Path) -> None:
        """Keeps where the list is."""
        self.report = report
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a row.

    Attributes:
        row: number in the corpus.
        text: names file, row and field.
    """

    row: int
    text: str


class Corpus:
    """Pairs by row number.

    Attributes:
        path: the folder or file that was named.
        root: where media paths start.
        datasets: name → numbers of the usable rows, in file order.
        left_out: rows that are not used.
    """

    def __init__(self, data: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> None:
        """Opens the files; nothing is looked at yet but where rows stand.

        Raises:
            RecordError: there are no files, or one cannot be read.
        """
        self.path = Path(data)
        self.root = Path(root) if root else (self.path if self.path.is_dir() else self.path.parent)
        self._sources: list[Source] = open_sources(self.path)
        self._bounds = [0]
        for source in self._sources:
            self._bounds.append(self._bounds[-1] + len(source))
        self.datasets: dict[str, np.ndarray] = {}
        self.left_out = 0

    def __len__(self) -> int:
        """Returns the number of rows, usable or not."""
        return self._bounds[-1]

    def __getitem__(self, row: int) -> Pair:
        """Returns the pair of a row.

        Raises:
            RecordError: it does not have a known shape; names file, row and field.
        """
        source = bisect_right(self._bounds, row) - 1
        return self._sources[source].pair(row - self._bounds[source])

    def missing(self, pair: Pair) -> Iterator[tuple[str, str]]:
        """Yields field and path of the media of a pair that are not there."""
        for field, side in pair.sides():
            for path in (*side.images, *side.frames):
                if path != BLANK and not (self.root / path).is_file():
                    yield field, path

    def prepare(
        self, kept: Path, faults: str = "refuse", traces: bool = True, progress: bool = False
    ) -> None:
        """Fills ``datasets``, from a look at every row or from what an earlier look kept.

        Args:
            kept: folder of the run, for ``rows.npz`` and ``faults.jsonl``.
            faults: ``"refuse"`` data with unusable rows, or ``"leave_out"`` these rows.
            traces: rows without reasoning are unusable.
            progress: show a bar.

        Raises:
            DataFault: rows are unusable and may not be left out, or no row is left.
        """
        index = kept / "rows.npz"
        signature = self._signature(traces)
        if index.is_file():
            with np.load(index) as saved:
                if str(saved["signature"]) == signature and (
                    faults == "leave_out" or not int(saved["left_out"])
                ):
                    names = [str(name) for name in saved["names"]]
                    self.datasets = {name: saved[f"rows_{n}"] for n, name in enumerate(names)}
                    self.left_out = int(saved["left_out"])
                    return
        self._look(kept / "faults.jsonl", faults, traces, progress)
        arrays: dict[str, Any] = {f"rows_{n}": rows for n, rows in enumerate(self.datasets.values())}
        partial = kept / "rows.part.npz"
        known: dict[str, Any] = {
            "signature": signature,
            "names": list(self.datasets),
            "left_out": self.left_out,
        }
        np.savez(partial, **known, **arrays)
        partial.replace(index)

    def split(self, share: float, block: int, seed: int) -> dict[str, np.ndarray]:
        """Takes a share of every data set out of ``datasets`` and returns it: a held-out split.

        Whole blocks go, so that siblings stay on one side. The same input under two rows may still stand on
        both: who knows of such gives a file of its own (``eval_data``).

        Args:
            share: of each data set's blocks, at least one.
            block: rows that stay together.
            seed: of the choice.

        Raises:
            ConfigError: a data set has a single block.
        """
        held: dict[str, np.ndarray] = {}
        for number, (name, rows) in enumerate(self.datasets.items()):
            blocks = len(rows) // block
            if blocks < 2:
                raise ConfigError(
                    f"holdout={share}: {name} has {len(rows)} rows, fewer than two blocks of {block}"
                )
            count = min(blocks - 1, max(1, round(blocks * share)))
            chosen = np.random.default_rng([seed, 3, number]).permutation(blocks)[:count]
            mask = np.isin(np.arange(len(rows)) // block, chosen)
            held[name], self.datasets[name] = rows[mask], rows[~mask]
        return held

    def _look(self, report: Path, faults: str, traces: bool, progress: bool) -> None:
        rows: dict[str, list[int]] = {}
        first: list[str] = []
        self.left_out = 0
        partial = report.with_suffix(".part")
        with partial.open("w", encoding="utf-8") as file:
            for row in tqdm(range(len(self)), desc="checking data", unit="row", disable=not progress):
                fault, name = self._fault(row, traces)
                if fault is None:
                    rows.setdefault(name, []).append(row)
                    continue
                self.left_out += 1
                first += [fault.text] if len(first) < 5 else []
                file.write(json.dumps({"row": row, "fault": fault.text}, ensure_ascii=False) + "\n")
        partial.replace(report)
        if self.left_out and (faults == "refuse" or not rows):
            listed = "\n  ".join(first)
            raise DataFault(
                f"{self.left_out} of {len(self)} rows cannot be used; the first:\n  {listed}\n"
                f"All are listed in {report}. Mend them, or train without them: --leave-out-faulty",
                report,
            )
        if not rows:
            raise DataFault(f"{self.path} holds no records at all", report)
        self.datasets = {name: np.asarray(numbers, np.int64) for name, numbers in rows.items()}

    def _fault(self, row: int, traces: bool) -> tuple[Fault | None, str]:
        try:
            pair = self[row]
        except RecordError as error:
            return Fault(row, str(error)), ""
        absent = [f"{field}: {path}" for field, path in self.missing(pair)]
        if absent:
            more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
            where = f"{self._where(row)}: no such file under {self.root}: {'; '.join(absent[:3])}{more}"
            return Fault(row, where), ""
        if traces and (bare := [field for field, side in pair.sides() if not side.completion]):
            hint = "train disc alone (recipe dume), or write traces first"
            return Fault(row, f"{self._where(row)}.{bare[0]}: has no reasoning: {hint}"), ""
        if not isinstance(pair.dataset, str) or not pair.dataset:
            return Fault(row, f"{self._where(row)}.dataset_name: must be a name"), ""
        return None, pair.dataset

    def _where(self, row: int) -> str:
        source = bisect_right(self._bounds, row) - 1
        return f"{self._sources[source].path}:{row - self._bounds[source] + 1}"

    def _signature(self, traces: bool) -> str:
        files: Sequence[tuple[str, int, int]] = [
            (s.path.name, s.path.stat().st_size, s.path.stat().st_mtime_ns) for s in self._sources
        ]
        return hashlib.sha256(json.dumps([str(self.root), traces, *files]).encode()).hexdigest()
