"""Which tasks can run on a data directory, and what is missing for the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from tqdm import tqdm

from ume_r1_bench.mmeb.errors import DataMissing, MmebError
from ume_r1_bench.mmeb.layout import KINDS
from ume_r1_bench.mmeb.load import collect, make_parser
from ume_r1_bench.mmeb.parsers import Parser
from ume_r1_bench.mmeb.parsers.video_qa import SUBSETS
from ume_r1_bench.mmeb.parsers.visdoc import ViDoRe
from ume_r1_bench.mmeb.protocol import Protocol
from ume_r1_bench.mmeb.suite import SUITES
from ume_r1_bench.mmeb.task import Task

SHOWN: Final = 3
"""How many missing files a line of the report names."""

MEDIA: Final = {"image": "pictures", "video": "folders of frames and pictures", "visdoc": "pages"}
REMEDIES: Final = {
    "image": (
        "pictures: `hf download --repo-type dataset TIGER-Lab/MMEB-V2 --include 'image-tasks/*' --local-dir "
        "DIR`, then in image-tasks `tar -xzf mmeb_v1.tar.gz && mv MMEB/* .`"
    ),
    "video": (
        "frames: `hf download --repo-type dataset TIGER-Lab/MMEB-V2 --include 'video-tasks/*' --local-dir "
        "DIR`, then in video-tasks/frames `mkdir video_cls video_ret; tar -xzf video_cls.tar.gz -C "
        "video_cls; tar -xzf video_ret.tar.gz -C video_ret; tar -xzf video_mret.tar.gz; "
        "cat video_qa.tar.gz-* | tar -xz`"
    ),
    "visdoc": "pages: they come with the corpus of a task's own data set, and are written at its first use",
}
ROWS_REMEDY: Final = (
    "rows: `hf download --repo-type dataset REPO --local-dir DIR/…` as named above, or give --hub"
)


@dataclass(frozen=True, slots=True)
class Gap:
    """Files of one folder that a task needs and that are not there.

    Attributes:
        kind: ``rows`` or ``media``.
        folder: the folder, below the data directory.
        files: what of it is missing, in order.
        total: how many files or folders of its kind the task needs; None if that is not known.
        source: the data set on the hub that has the rows; empty for media.
    """

    kind: Literal["rows", "media"]
    folder: str
    files: tuple[str, ...]
    total: int | None
    source: str = ""


@dataclass(frozen=True, slots=True)
class TaskState:
    """What was found of a task.

    Attributes:
        task: the task.
        queries: how many rows there are; None if they are not there.
        candidates: how many distinct candidates; None likewise.
        gaps: what is missing.
        problem: what is wrong with what is there; empty if nothing is.
        from_hub: whether its rows are left to the hub, so that media could not be checked.
    """

    task: Task
    queries: int | None = None
    candidates: int | None = None
    gaps: tuple[Gap, ...] = ()
    problem: str = ""
    from_hub: bool = False

    @property
    def ok(self) -> bool:
        """Whether it can run."""
        return not self.gaps and not self.problem


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found of all tasks.

    Attributes:
        data: the data directory.
        protocol: for which protocol.
        states: one for each task.
    """

    data: Path
    protocol: Protocol
    states: tuple[TaskState, ...] = field(default_factory=tuple)

    @property
    def ok(self) -> bool:
        """Whether all tasks can run."""
        return all(state.ok for state in self.states)

    def to_json(self) -> dict[str, Any]:
        """Returns all of it, every missing file included."""
        return {
            "data": str(self.data),
            "protocol": self.protocol.stamp(),
            "ok": self.ok,
            "tasks": [
                {
                    "name": state.task.name,
                    "meta_task": state.task.meta_task,
                    "ok": state.ok,
                    "queries": state.queries,
                    "candidates": state.candidates,
                    "rows_from": "hub" if state.from_hub else "disk",
                    "problem": state.problem or None,
                    "missing": [
                        {"kind": gap.kind, "source": gap.source or None, "file": f"{gap.folder}/{name}"}
                        for gap in state.gaps
                        for name in gap.files
                    ],
                }
                for state in self.states
            ],
        }

    def report(self, *, every: bool = False) -> str:
        """Returns it for a reader.

        Args:
            every: name every missing file, not only the first few.
        """
        able = [state for state in self.states if state.ok]
        lines = [
            f"{len(able)} of {len(self.states)} tasks can run on {self.data}, protocol {self.protocol.name}",
            "",
            *self._groups(),
        ]
        if left := [state.task.name for state in able if state.from_hub]:
            lines += ["", f"rows from the hub, media not checked: {', '.join(left)}"]
        if self.ok:
            return "\n".join(lines)
        if len(able) < len(self.states) and {state.task.name for state in able} >= set(SUITES["mini"].tasks):
            lines += ["", "all of the mini suite is there: try --suite mini"]
        lines += ["", "missing:", *_told(self.states, every=every)]
        return "\n".join([*lines, "", "where it comes from:", *(f"  {line}" for line in self._remedies())])

    def _groups(self) -> list[str]:
        every = Counter(state.task.meta_task for state in self.states)
        able = Counter(state.task.meta_task for state in self.states if state.ok)
        modalities: dict[str, list[str]] = {}
        for meta, count in every.items():
            modality, group = meta.split("/")
            modalities.setdefault(modality, []).append(f"{group} {able[meta]}/{count}")
        return [f"  {modality:<7} {'  '.join(told)}" for modality, told in modalities.items()]

    def _remedies(self) -> list[str]:
        gaps = [(state.task.modality, gap) for state in self.states for gap in state.gaps]
        media = dict.fromkeys(modality for modality, gap in gaps if gap.kind == "media")
        lines = [REMEDIES[modality].replace("DIR", str(self.data)) for modality in media]
        if any(gap.kind == "rows" for _, gap in gaps):
            lines.insert(0, ROWS_REMEDY.replace("DIR", str(self.data)))
        return lines


def _told(states: Sequence[TaskState], *, every: bool) -> list[str]:
    """Returns the lines about what is missing; tasks whose only table is of one repository share a line."""
    lines: list[str] = []
    alike: dict[tuple[str, str], list[str]] = {}
    for state in states:
        if state.problem:
            lines.append(f"  {state.task.name}: {state.problem.removeprefix(state.task.name + ': ')}")
        for gap in state.gaps:
            if gap.kind == "rows" and state.task.modality == "image" and not every:
                alike.setdefault((gap.source, ", ".join(gap.files)), []).append(state.task.name)
            else:
                lines += _gap_lines(state.task, gap, every=every)
    shared = [
        f"  {', '.join(names)}: no {file} in image-tasks/TASK/ ({source})"
        for (source, file), names in alike.items()
    ]
    return shared + lines


def _gap_lines(task: Task, gap: Gap, *, every: bool) -> list[str]:
    what = "tables" if gap.kind == "rows" else MEDIA[task.modality]
    of = f" of {gap.total}" if gap.total is not None else ""
    head = f"  {task.name}: {len(gap.files)}{of} {what} in {gap.folder}/"
    head += f" ({gap.source})" if gap.source else ""
    if every:
        return [head, *(f"    {gap.folder}/{name}" for name in gap.files)]
    more = len(gap.files) - SHOWN
    return [f"{head}: {', '.join(gap.files[:SHOWN])}{f' and {more} more' if more > 0 else ''}"]


def examine(
    tasks: Sequence[Task], data: Path, protocol: Protocol, *, hub: bool = False, progress: bool = True
) -> Examination:
    """Returns which tasks can run on a data directory; nothing is written, and the hub is not asked.

    Args:
        tasks: the tasks.
        data: the data directory.
        protocol: the protocol, which says which version of the page tasks is needed.
        hub: whether rows that are not on disk are left to the hub.
        progress: whether a progress bar is shown.

    Raises:
        MmebError: the data directory is none.
    """
    if not data.is_dir():
        raise MmebError(f"data={str(data)!r} is no folder: give the one that holds image-tasks and the like")
    shown = tqdm(tasks, desc="tasks", disable=not progress, leave=False)
    return Examination(data, protocol, tuple(examine_task(task, data, protocol, hub=hub) for task in shown))


def examine_task(task: Task, data: Path, protocol: Protocol, *, hub: bool = False) -> TaskState:
    """Returns what was found of one task; see :func:`examine`."""
    parser = make_parser(task, data, protocol, online=False)
    gaps = _table_gaps(parser)
    if gaps:
        return _without_rows(parser, gaps, hub=hub)
    try:
        rows = parser.rows()
        for row in rows:
            # Pages of a corpus are written when the task is read; without that they would seem to be missing.
            parser.query(row)
            parser.relevance(row)
        candidates, _ = collect(parser, rows)
    except DataMissing as error:
        return TaskState(task, gaps=_gaps(parser, "rows", error.tables, None))
    except MmebError as error:
        return TaskState(task, problem=str(error))
    missing = list(parser.media.missing)
    if isinstance(parser, ViDoRe):
        missing = [parser.media.roots[0] / parser.file_name(page) for page in parser.absent()]
        missing = [] if parser.holds_pages() else missing
    total = parser.media.found + len(parser.media.missing)
    return TaskState(task, len(rows), len(candidates), _gaps(parser, "media", missing, total))


def _table_gaps(parser: Parser) -> tuple[Gap, ...]:
    configs: Sequence[str | None] = (None,)
    if parser.task.modality == "visdoc":
        configs = ("queries", "corpus", "qrels")
    elif parser.task.parser == "mvbench":
        configs = SUBSETS
    absent = [parser.tables.usual(config) for config in configs if not parser.tables.files(config)]
    return _gaps(parser, "rows", absent, len(configs))


def _without_rows(parser: Parser, gaps: tuple[Gap, ...], *, hub: bool) -> TaskState:
    """Returns the state of a task whose rows are not on disk."""
    if not hub:
        return TaskState(parser.task, gaps=gaps)
    task, folders = parser.task, parser.media.roots
    if task.modality == "image":
        folders = [root / task.name for root in folders]
    if task.modality == "visdoc" or any(folder.is_dir() for folder in folders):
        return TaskState(task, from_hub=True)
    return TaskState(task, gaps=_gaps(parser, "media", folders[:1], None), from_hub=True)


def _gaps(
    parser: Parser, kind: Literal["rows", "media"], paths: Sequence[Path], total: int | None
) -> tuple[Gap, ...]:
    """Returns missing files by the folder that they belong to: the one below a modality's, or its own."""
    folders: dict[str, list[str]] = {}
    for path in paths:
        folder, name = _parted(path.relative_to(parser.data), parser.task, kind)
        folders.setdefault(folder, []).append(name)
    source = parser.tables.hub.repo if kind == "rows" else ""
    return tuple(Gap(kind, folder, tuple(names), total, source) for folder, names in folders.items())


def _parted(path: Path, task: Task, kind: Literal["rows", "media"]) -> tuple[str, str]:
    """Returns a path in two: the folder that the report names, and the rest."""
    depth = 2
    if kind == "media":
        # The folder of an image task is below that of all; other tasks have roots of their own.
        depth = len(Path(task.root).parts) + (1 if task.modality == "image" else 0)
        if path.parts[: len(Path(task.root).parts)] != Path(task.root).parts:
            depth = 1 if path.parts[0] not in KINDS.values() else 2
    depth = min(depth, len(path.parts) - 1)
    return "/".join(path.parts[:depth]), "/".join(path.parts[depth:])
