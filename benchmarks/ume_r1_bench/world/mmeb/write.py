"""Writing a benchmark directory from the world."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

from tqdm import tqdm

from ume_r1_bench.mmeb.suite import SUITES
from ume_r1_bench.mmeb.task import TASKS, Task, find_task
from ume_r1_bench.world.mmeb.films import write_video_task
from ume_r1_bench.world.mmeb.folder import Folder, Layout, Size
from ume_r1_bench.world.mmeb.papers import write_visdoc_task
from ume_r1_bench.world.mmeb.pictures import image_rows
from ume_r1_bench.world.split import WorldError, make_rng

LAYOUTS: Final[tuple[str, ...]] = get_args(Layout)
MINI: Final = Size(rows=60, pool=64)
MOST: Final = 48
"""Rows of a task: so many the smallest pool of contents can give."""


@dataclass(frozen=True, slots=True)
class MmebSummary:
    """What was written.

    Attributes:
        directory: where.
        tasks: names of the tasks.
        rows: about how many queries each has.
        files: pictures and frames; pages are in the tables.
    """

    directory: Path
    tasks: tuple[str, ...]
    rows: int
    files: int


def write_mmeb(
    directory: str | os.PathLike[str],
    rows: int = 4,
    *,
    mini: bool = False,
    tasks: Iterable[str] | None = None,
    layout: Layout = "new",
    seed: int = 0,
    progress: bool = True,
) -> MmebSummary:
    """Writes a benchmark directory: rows of every task in the layout of its parser.

    Args:
        directory: where to; an empty folder, or none yet.
        rows: queries a task; a few more where a data set has configurations.
        mini: the suite ``mini`` with 60 queries a task, in place of a few of all.
        tasks: which tasks; default all, extras included, or those of the suite.
        layout: today's, or that of 2025.
        seed: which contents.
        progress: whether a progress bar is shown.

    Raises:
        WorldError: the folder is not empty, or there can be no such number of rows.
        MmebError: there is no such task.
    """
    if not 1 <= rows <= MOST:
        raise WorldError(f"rows={rows} cannot be: give 1 to {MOST}, or mini=True for the larger suite")
    if layout not in LAYOUTS:
        raise WorldError(f"layout={layout!r} is none: choose one of {', '.join(LAYOUTS)}")
    root = Path(directory)
    if root.is_dir() and any(root.iterdir()):
        raise WorldError(f"{root} is not empty: name a new folder; rows of two makings would mix")
    size = MINI if mini else Size(rows, max(rows, 6))
    names = tuple(SUITES["mini"].tasks if mini else TASKS) if tasks is None else tuple(tasks)
    folder = Folder(root, layout)
    for name in tqdm(names, desc="tasks", disable=not progress, leave=False):
        _write(find_task(name), folder, size, seed)
    folder.close()
    return MmebSummary(root, names, size.rows, folder.files)


def _write(task: Task, folder: Folder, size: Size, seed: int) -> None:
    hubs = [task.hub]
    if task.is_page_task and task.hub_old is not None:
        # Before and after the data were mended: each protocol finds the version it asks for.
        hubs.append(task.hub_old)
    for hub in hubs:
        # Of a repository, not of a task: two tasks of one repository are its rows in two selections.
        rng = make_rng("mmeb", hub.repo, hub.config, seed)
        if task.modality == "image":
            folder.table(task, hub, image_rows(task, folder, rng, size))
        elif task.modality == "video":
            write_video_task(task, hub, folder, rng, size)
        else:
            write_visdoc_task(task, hub, folder, rng, size)
