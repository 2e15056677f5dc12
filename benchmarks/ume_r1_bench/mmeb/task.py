"""The 78 tasks of MMEB-V2 and the three extras, read from ``data/tasks.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from ume_r1_bench.mmeb.errors import MmebError

DATA: Final = Path(__file__).with_name("data")

Modality = Literal["image", "video", "visdoc"]
Scope = Literal["local", "global"]


@dataclass(frozen=True, slots=True)
class Hub:
    """A data set on the Hugging Face hub.

    Attributes:
        repo: ``owner/name``.
        config: its configuration; None for the only one.
        split: the split.
        language: keep the rows of this language alone; None keeps all.
    """

    repo: str
    config: str | None
    split: str
    language: str | None = None

    @property
    def folder(self) -> str:
        """What a copy's folder is called: the name without its owner."""
        return self.repo.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class Task:
    """One task.

    Attributes:
        name: the key of scores, such as ``K700``.
        dataset: what the evaluator calls its data, such as ``Kinetics-700``.
        modality: ``image``, ``video`` or ``visdoc``.
        group: the meta-task within the modality, such as ``CLS`` or ``VDRv1``.
        parser: how its rows are read.
        scope: ``local``: each query ranks candidates of its own; ``global``: all rank the same.
        metric: what is reported, ``hit@1`` or ``ndcg_linear@5``.
        hub: where the rows come from.
        hub_old: where they came from in the protocols of 2025; None where that is the same.
        root: the folder of its pictures or frames, below the data directory.
        num_queries: how many queries are known to be in it; None where nobody says.
        num_candidates: how many candidates a query has, in words.
        instruction_query: put before the query; ``""`` where it is per kind of query, see the parser.
        instruction_target: the text of a picture, page or clip as candidate; None for text candidates.
        query_rendered: VLM2Vec's string of a query, with its placeholders.
        target_rendered: the same of a candidate.
        num_frames: frames of a clip; None for all, or where there are no clips.
        first: only so many rows are used; None for all.
        graded: whether relevance has more than two grades.
        counted: whether it goes into the averages.
        note: what else to know.
    """

    name: str
    dataset: str
    modality: Modality
    group: str
    parser: str
    scope: Scope
    metric: str
    hub: Hub
    hub_old: Hub | None
    root: str
    num_queries: int | None
    num_candidates: str
    instruction_query: str
    instruction_target: str | None
    query_rendered: str
    target_rendered: str
    num_frames: int | None
    first: int | None
    graded: bool
    counted: bool
    note: str

    @property
    def meta_task(self) -> str:
        """``"image/CLS"``: unique among the three modalities."""
        return f"{self.modality}/{self.group}"

    @property
    def is_page_task(self) -> bool:
        """Whether it is one of the two whose data were mended in November 2025."""
        return self.name in {"ViDoSeek-page", "MMLongBench-page"}


def _hub(entry: Mapping[str, Any] | None) -> Hub | None:
    return None if entry is None else Hub(**entry)


def _task(entry: Mapping[str, Any], *, counted: bool) -> Task:
    instruction = entry["instruction_query"]
    return Task(
        name=entry["name"],
        dataset=entry["dataset"],
        modality=entry["modality"],
        group=entry["group"],
        parser=entry["parser"],
        scope=entry["scope"],
        metric=entry["metric"],
        hub=Hub(**entry["hub"]),
        hub_old=_hub(entry.get("hub_old")),
        root=entry["root"],
        num_queries=entry["num_queries"],
        num_candidates=entry["num_candidates"],
        # MomentSeeker has one for each kind of query; they stand in its parser.
        instruction_query=instruction if isinstance(instruction, str) else "",
        instruction_target=entry["instruction_target"],
        query_rendered=entry["query_rendered"],
        target_rendered=entry["target_rendered"],
        num_frames=entry.get("num_frames"),
        first=entry.get("first"),
        graded=entry.get("graded", False),
        counted=counted,
        note=entry.get("note", ""),
    )


def _read_tasks() -> dict[str, Task]:
    read = json.loads((DATA / "tasks.json").read_text(encoding="utf-8"))
    tasks = [_task(entry, counted=True) for entry in read["tasks"]]
    tasks += [_task(entry, counted=False) for entry in read["extras"]]
    return {task.name: task for task in tasks}


TASKS: Final[Mapping[str, Task]] = MappingProxyType(_read_tasks())
"""Name → task, in the order image, video, visdoc, extras."""

_ALIASES: Final = {"Kinetics-700": "K700"} | {
    f"{name}-fixed": name for name in ("ViDoSeek-page", "MMLongBench-page")
}


def find_task(name: str) -> Task:
    """Returns a task by its name; also by the names that public score files give it.

    Raises:
        MmebError: there is no such task; names the nearest.
    """
    found = TASKS.get(_ALIASES.get(name, name))
    if found is None:
        from difflib import get_close_matches

        near = get_close_matches(name, TASKS, n=3, cutoff=0.4)
        meant = f"did you mean {', '.join(near)}?" if near else f"the tasks are {', '.join(TASKS)}"
        raise MmebError(f"task={name!r} is none of MMEB-V2: {meant}")
    return found
