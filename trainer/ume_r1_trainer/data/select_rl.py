"""Select for RL: pairs that SFT has not seen and that are not easy, balanced over modalities and datasets.

The paper's section 2 and appendix D: 11,136 pairs, "roughly equal numbers of instances from each modality
while ensuring balanced numbers across different datasets within each modality", "prioritizing instances not
included in the SFT data to avoid overly simple samples"; of the image datasets only five, "as the tasks in
the other image datasets are relatively simple". Departure: pairs of the SFT data are left out, not only put
last; and what is easy can be measured, where the paper names datasets.
"""

from __future__ import annotations

import json
import random
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from ume_r1_rag.errors import ConfigError
from ume_r1_trainer.data.quota import share_out
from ume_r1_trainer.data.record import MODALITIES, modality_of, pair_key
from ume_r1_trainer.data.rl_record import to_rl_record
from ume_r1_trainer.data.rows import read_rows
from ume_r1_trainer.data.scores import Condition, read_scores
from ume_r1_trainer.records import RecordError

PAPER_PAIRS: Final = 11_136
PAPER_IMAGE_SETS: Final = ("OK-VQA", "A-OKVQA", "ChartQA", "CIRR", "Visual7W")


@dataclass(frozen=True, slots=True)
class Choice:
    """What may be selected, and how much.

    Attributes:
        pairs: altogether.
        image_sets: the image datasets that are drawn from; empty for all.
        easy: conditions that an easy pair meets, all of them; empty for no such criterion.
        seed: of the draw.
        modalities: dataset → modality, for datasets whose records and names do not say it.
    """

    pairs: int = PAPER_PAIRS
    image_sets: tuple[str, ...] = ()
    easy: tuple[Condition, ...] = ()
    seed: int = 0
    modalities: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class SelectReport:
    """What ``select_rl`` chose.

    Attributes:
        rows: of the data.
        chosen: pairs.
        left_out: reason → pairs: ``seen``, ``easy``, ``unscored``, ``duplicate``, ``other_image_set``.
        unreadable: rows that are no records.
        faults: the first of them.
        available: modality → dataset → pairs that could be chosen.
        selected: the same of those that were.
        settings: seed and bounds.
    """

    rows: int = 0
    chosen: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    unreadable: int = 0
    faults: list[str] = field(default_factory=list)
    available: dict[str, dict[str, int]] = field(default_factory=dict)
    selected: dict[str, dict[str, int]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


def select_rl(
    data: Path,
    output: Path,
    choice: Choice,
    *,
    sft: Sequence[Path] = (),
    scores: Path | None = None,
    progress: bool = False,
) -> SelectReport:
    """Writes the chosen pairs in the official ``UME-rl-train`` shape; returns a report, which lies beside it.

    The data are read twice and never held: first to learn what there is, then to write what was drawn.

    Args:
        data: records, annotated or not.
        output: a ``.json`` (one list, as the official file) or a ``.jsonl``.
        choice: what may be selected.
        sft: files of records that SFT was trained on.
        scores: see ``scores.read_scores``; needed for ``choice.easy``.
        progress: show a bar on standard error.

    Raises:
        RecordError: a file is absent or, but for the data, faulty.
        ConfigError: options that do not go together, or nothing is left to choose.
    """
    _check(data, output, choice, scores)
    measured = read_scores(scores, [one.name for one in choice.easy]) if scores else {}
    sieve = _Sieve(choice, _keys(sft, progress), measured)
    report = SelectReport(settings={"seed": choice.seed, "pairs": choice.pairs})
    report.settings["easy"] = [str(condition) for condition in choice.easy]
    report.settings["image_sets"] = list(choice.image_sets)
    candidates: dict[str, dict[str, array[int]]] = {name: {} for name in MODALITIES}
    for row in tqdm(read_rows(data), desc="looking", unit=" pairs", disable=not progress):
        report.rows += 1
        if row.record is None:
            report.unreadable += 1
            report.faults += [row.fault or ""] if len(report.faults) < 5 else []
            continue
        modality = choice.modalities.get(row.record["dataset_name"]) or modality_of(row.record)
        if (reason := sieve.reason(row.record, modality)) is not None:
            report.left_out[reason] = report.left_out.get(reason, 0) + 1
            continue
        candidates[modality].setdefault(row.record["dataset_name"], array("Q")).append(row.number)
    drawn = _draw(candidates, choice, report)
    if not drawn:
        told = ", ".join(f"{count} {reason}" for reason, count in report.left_out.items()) or "none was there"
        raise ConfigError(f"no pair of {data} is left to choose: {told}. Give more data or looser bounds")
    _write(data, output, drawn, choice, progress)
    report.chosen = len(drawn)
    text = json.dumps(asdict(report), ensure_ascii=False, indent=2)
    output.with_suffix(".report.json").write_text(text + "\n", encoding="utf-8")
    return report


def _check(data: Path, output: Path, choice: Choice, scores: Path | None) -> None:
    if output.suffix not in (".json", ".jsonl") or output.resolve() == data.resolve():
        raise ConfigError(f"{output} must be a .json or .jsonl, and not the data itself")
    if choice.pairs < 1:
        raise ConfigError(f"pairs={choice.pairs} must be positive")
    if bool(choice.easy) != (scores is not None):
        raise ConfigError("what is easy needs both: scores, and a condition on them such as rank<=1")
    if unknown := [name for name in choice.modalities.values() if name not in MODALITIES]:
        raise ConfigError(f"{unknown[0]!r} is no modality: give one of {', '.join(MODALITIES)}")


def _keys(paths: Sequence[Path], progress: bool) -> set[bytes]:
    keys = set()
    for path in paths:
        for row in tqdm(read_rows(path), desc=f"reading {path.name}", unit=" pairs", disable=not progress):
            if row.record is None:
                # What SFT saw must be known in full, or "unseen" would be a guess.
                raise RecordError(f"{row.fault}. Give the file that SFT was trained on, as filter wrote it")
            keys.add(pair_key(row.record))
    return keys


class _Sieve:
    """Tells which pairs cannot be chosen, and remembers those that can: a second one of a kind cannot."""

    def __init__(self, choice: Choice, seen: set[bytes], measured: Mapping[str, Mapping[str, float]]) -> None:
        self._choice, self._seen, self._measured = choice, seen, measured
        self._own: set[bytes] = set()

    def reason(self, record: Mapping[str, Any], modality: str) -> str | None:
        """Returns why a pair cannot be chosen; None if it can."""
        choice = self._choice
        if modality == "image" and choice.image_sets and record["dataset_name"] not in choice.image_sets:
            return "other_image_set"
        key = pair_key(record)
        if key in self._seen or key in self._own:
            return "seen" if key in self._seen else "duplicate"
        if choice.easy:
            if (scores := self._measured.get(record["id"])) is None:
                return "unscored"
            if all(condition.holds(scores) for condition in choice.easy):
                return "easy"
        self._own.add(key)
        return None


def _draw(
    candidates: Mapping[str, Mapping[str, array[int]]], choice: Choice, report: SelectReport
) -> dict[int, None]:
    """Returns the numbers of the drawn rows, ascending."""
    sizes = {
        modality: {name: len(rows) for name, rows in sorted(sets.items())}
        for modality, sets in candidates.items()
        if sets
    }
    report.available = sizes
    drawn: list[int] = []
    for modality, quota in share_out(
        choice.pairs, {m: sum(sets.values()) for m, sets in sizes.items()}
    ).items():
        report.selected[modality] = share_out(quota, sizes[modality])
        for name, count in report.selected[modality].items():
            rng = random.Random(f"{choice.seed}/{name}")
            drawn += rng.sample(candidates[modality][name], count)
    return dict.fromkeys(sorted(drawn))


def _write(data: Path, output: Path, drawn: Mapping[int, None], choice: Choice, progress: bool) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f"{output.name}.part")
    is_list = output.suffix == ".json"
    with partial.open("w", encoding="utf-8") as file:
        count = 0
        for row in tqdm(read_rows(data), desc="writing", unit=" pairs", disable=not progress):
            if row.number not in drawn or row.record is None:
                continue
            modality = choice.modalities.get(row.record["dataset_name"])
            record = {**row.record, "modality": modality} if modality else row.record
            before = ("[\n" if not count else ",\n") if is_list else ("\n" if count else "")
            file.write(before + json.dumps(to_rl_record(record), ensure_ascii=False))
            count += 1
        file.write("\n]\n" if is_list else "\n")
    partial.replace(output)
