"""Which tasks are run together, and how they are averaged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from ume_r1_bench.mmeb.errors import MmebError
from ume_r1_bench.mmeb.task import TASKS, Task, find_task

_IND: Final = (
    *("ImageNet-1K", "N24News", "HatefulMemes", "VOC2007", "SUN397"),
    *("OK-VQA", "A-OKVQA", "DocVQA", "InfographicsVQA", "ChartQA", "Visual7W"),
    *("VisDial", "CIRR", "VisualNews_t2i", "VisualNews_i2t", "MSCOCO_t2i", "MSCOCO_i2t", "NIGHTS", "WebQA"),
    "MSCOCO",
)
"""MMEB-V1's twenty tasks whose training split was trained on; the other sixteen are out of distribution."""

_MINI: Final = (
    *("VOC2007", "OK-VQA", "DocVQA", "MSCOCO_t2i", "CIRR", "RefCOCO"),
    *("SmthSmthV2", "NExTQA", "MSR-VTT", "QVHighlight"),
    *("ViDoRe_docvqa", "ViDoRe_esg_reports_human_labeled_v2", "VisRAG_ChartQA", "ViDoSeek-doc"),
)


@dataclass(frozen=True, slots=True)
class Suite:
    """Tasks that are run together.

    Attributes:
        name: how it is asked for.
        about: one line.
        tasks: names of the tasks, in order.
        splits: further averages: name → tasks.
    """

    name: str
    about: str
    tasks: tuple[str, ...]
    splits: Mapping[str, tuple[str, ...]]

    @property
    def meta_tasks(self) -> dict[str, tuple[str, ...]]:
        """Meta-task, such as ``"image/CLS"`` → its tasks in this suite."""
        found: dict[str, list[str]] = {}
        for name in self.tasks:
            found.setdefault(TASKS[name].meta_task, []).append(name)
        return {meta: tuple(names) for meta, names in found.items()}

    @property
    def modalities(self) -> dict[str, tuple[str, ...]]:
        """Modality → its tasks in this suite."""
        found: dict[str, list[str]] = {}
        for name in self.tasks:
            found.setdefault(TASKS[name].modality, []).append(name)
        return {modality: tuple(names) for modality, names in found.items()}


def _suites() -> dict[str, Suite]:
    counted = tuple(name for name, task in TASKS.items() if task.counted)
    images = tuple(name for name in counted if TASKS[name].modality == "image")
    outside = tuple(name for name in images if name not in _IND)
    suites = (
        Suite("mmeb-v2", "the 78 tasks of MMEB-V2", counted, {}),
        Suite("mmeb-v1", "the 36 image tasks, as MMEB-V1", images, {"IND": _IND, "OOD": outside}),
        Suite("mini", "fourteen tasks, one or two of each meta-task", _MINI, {}),
    )
    return {suite.name: suite for suite in suites}


SUITES: Final[Mapping[str, Suite]] = MappingProxyType(_suites())
"""Name → suite."""


def find_suite(name: str) -> Suite:
    """Returns a suite by its name.

    Raises:
        MmebError: there is no such suite.
    """
    if name not in SUITES:
        raise MmebError(f"suite={name!r} is unknown: choose one of {', '.join(SUITES)}")
    return SUITES[name]


def choose_tasks(suite: str, names: Iterable[str] | None = None) -> list[Task]:
    """Returns a suite's tasks, or those that are named; extras too, if they are.

    Raises:
        MmebError: there is no such suite or task.
    """
    chosen = find_suite(suite).tasks
    return [find_task(name) for name in (chosen if names is None else dict.fromkeys(names))]
