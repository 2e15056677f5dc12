"""Where rows and media are below a data directory: today's layout, that of 2025, and copies of the hub.

Source: VLM2Vec ``experiments/public/data/download_data.sh`` and ``src/constant/dataset_hflocal_path.py``, and
their versions of June 2025, which UME-R1's release follows.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ume_r1_bench.mmeb.protocol import Protocol
from ume_r1_bench.mmeb.task import Task

KINDS: Final = {"image": "image-tasks", "video": "video-tasks", "visdoc": "visdoc-tasks"}
_FORMS: Final = ("-*.parquet", ".parquet", ".jsonl", ".json")


def row_roots(data: Path, task: Task, protocol: Protocol) -> list[Path]:
    """Returns the folders that may hold a task's rows, the usual one first."""
    hub, kind = protocol.hub(task), data / KINDS[task.modality]
    if task.modality == "image":
        # One repository holds all image tasks: a folder for each, beside or among the pictures.
        return [kind, kind / "MMEB", kind / hub.folder, data / hub.folder, data / hub.repo]
    hubs = [hub]
    if task.hub_old is not None and not task.is_page_task:
        # The same rows under another owner; the page tasks alone were changed.
        hubs.append(task.hub if hub == task.hub_old else task.hub_old)
    return [
        root
        for one in hubs
        for root in (
            kind / one.folder,
            kind / kind.name / one.folder,
            kind / "data" / one.folder,
            data / one.repo,
        )
    ]


def _stems(config: str | None, split: str) -> Iterator[str]:
    if config is not None:
        yield from (f"{config}/{split}", f"data/{config}/{split}", f"{config}-{split}", config)
        yield f"json/{config}"


def table_files(roots: list[Path], config: str | None, split: str, *, bare: bool = False) -> list[Path]:
    """Returns the files of a table in the first folder that holds it; none where there is none.

    Args:
        roots: folders, the first that has it wins.
        config: the table's configuration.
        split: the table's split.
        bare: whether a table without the configuration in its path will do: a repository with but one.
    """
    stems = list(_stems(config, split))
    if bare or config is None:
        stems += [f"data/{split}", split, f"default/{split}"]
    for root in roots:
        for stem in stems:
            # Shards have the split in their name; "RefCOCO-*" would be RefCOCO-Matching too.
            for form in _FORMS if stem.endswith(split) else _FORMS[1:]:
                found = sorted(root.glob(glob.escape(stem) + form))
                if found:
                    return found
    return []


def usual_table(roots: list[Path], config: str | None, split: str) -> Path:
    """Returns where a table is looked for first, to name it in a message."""
    return roots[0] / (config or "") / f"{split}.parquet"


def legacy_table(data: Path, task: Task) -> list[Path]:
    """Returns a task's file of 2025, such as ``video-tasks/data/charades_sta.jsonl``, if it is there."""
    path = data / "video-tasks" / "data" / f"{task.name.lower().replace('-', '_')}.jsonl"
    return [path] if path.is_file() else []


def media_roots(data: Path, task: Task, protocol: Protocol) -> list[Path]:
    """Returns the folders that may hold a task's pictures, pages or frames, the usual one first."""
    root = data / task.root
    if task.modality == "image":
        return [root, root / "MMEB"]
    if task.modality == "video":
        roots = [root, root / "frames"]
        if task.parser == "momentseeker":
            roots.insert(0, root / "video_frames")
        return roots
    nested = data / "visdoc-tasks" / task.root
    if not task.is_page_task:
        return [root, nested]
    # An id may mean another page since the data were mended; so each version has a folder of its own.
    # The shared folder, which the evaluator fills with whichever comes first, is believed only after it.
    return [data / "visdoc-tasks" / "pages" / protocol.hub(task).folder, root, nested]
