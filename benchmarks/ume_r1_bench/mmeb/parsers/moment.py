"""A video with a description → the clip of it that shows what is described.

Source: VLM2Vec ``moment_retrieval_datasets.py`` and ``momentseeker_dataset.py``. Departure: a clip's key is
its folder below the data directory, not the absolute path, so that results of two machines compare.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Final

from ume_r1_bench.mmeb.frames import natural_key
from ume_r1_bench.mmeb.parsers.parser import Parser
from ume_r1_bench.mmeb.prompt import item, render
from ume_r1_bench.mmeb.row import Item
from ume_r1_bench.mmeb.tables import Row

QUERY: Final = "query"
POSITIVE: Final = "positive"


class MomentRetrieval(Parser):
    """QVHighlights and Charades-STA: all folders beside ``query`` are candidates."""

    columns: ClassVar[tuple[str, ...]] = ("query", "video_path")

    def _video(self, row: Row) -> str:
        return PurePosixPath(row["video_path"]).stem

    def _clips(self, row: Row) -> list[str]:
        """Returns the candidates' folders, below the media's roots."""
        video = self._video(row)
        folder = self.media.folder(video)
        entries = [] if folder is None else [entry for entry in folder.iterdir() if entry.is_dir()]
        names = [entry.name for entry in entries if entry.name != QUERY]
        if not names:
            self.media.missing[self.media.roots[0] / video / POSITIVE] = None
        # The evaluator takes them as the file system lists them. By name, the right one would always be last.
        return sorted((f"{video}/{name}" for name in names), key=_shuffled)

    def query(self, row: Row) -> Item:
        """Returns the video with the description."""
        frames = self.media.frames(f"{self._video(row)}/{QUERY}", self.num_frames)
        return item(render(self.query_instruction, row["query"], "video"), frames=frames)

    def names(self, row: Row) -> Sequence[str]:
        """Returns the clips' folders below the data directory."""
        return [f"{self.task.root}/{clip}" for clip in self._clips(row)]

    def candidate(self, row: Row, number: int) -> Item:
        """Returns a clip."""
        return self.clip_item(self.media.frames(self._clips(row)[number], self.num_frames))

    def relevance(self, row: Row) -> Mapping[str, float]:
        """Returns the clip whose folder's name begins with ``positive``; of several, the last by name."""
        names = self.names(row)
        if not names:
            return {}
        right = [name for name in names if name.rsplit("/", 1)[-1].startswith(POSITIVE)]
        if not right:
            raise self.broken(row, f"no clip of it is called {POSITIVE}…")
        return {max(right, key=natural_key): 1.0}


def _shuffled(clip: str) -> bytes:
    return hashlib.sha256(clip.encode()).digest()


class MomentSeeker(Parser):
    """Queries of text alone, with a picture, or with a clip; several clips may be right."""

    columns: ClassVar[tuple[str, ...]] = ("query", "input_frames", "positive_frames", "negative_frames")

    INSTRUCTIONS: ClassVar[Mapping[str, str]] = {
        "text": "Find the clip that corresponds to the given text:",
        "image": "Select the video clip that aligns with the given text and image:",
        "video": "Find the clip that corresponds to the given sentence and video segment:",
    }

    @staticmethod
    def _folder(path: str) -> str:
        return path.partition(".mp4")[0].replace("/", "_")

    def query(self, row: Row) -> Item:
        """Returns the description, with what it is about."""
        shown = row["input_frames"] or ""
        if shown.endswith(".mp4"):
            frames = self.media.frames(self._folder(shown), self.num_frames)
            return item(render(self.INSTRUCTIONS["video"], row["query"], "video"), frames=frames)
        if shown.endswith(".jpg"):
            rendered = render(self.INSTRUCTIONS["image"], row["query"], "image")
            return item(rendered, [self._picture(f"query_{shown}")])
        return item(render(self.INSTRUCTIONS["text"], row["query"]))

    def _picture(self, name: str) -> Path:
        # Pictures lie beside the folder of the clips' frames, not in it.
        beside = self.data / self.task.root / name
        if beside.is_file():
            self.media.found += 1
        else:
            self.media.missing[beside] = None
        return beside

    def _clips(self, row: Row) -> list[str]:
        entries: list[Mapping[str, Any]] = [*row["positive_frames"], *row["negative_frames"]]
        return [self._folder(entry["output_path"]) for entry in entries]

    def _key(self, clip: str) -> str:
        return f"{self.task.root}/video_frames/{clip}"

    def names(self, row: Row) -> Sequence[str]:
        """Returns the clips' folders below the data directory, the right ones first."""
        return [self._key(clip) for clip in self._clips(row)]

    def candidate(self, row: Row, number: int) -> Item:
        """Returns a clip, with all the frames there are."""
        return self.clip_item(self.media.frames(self._clips(row)[number], self.num_frames))

    def relevance(self, row: Row) -> Mapping[str, float]:
        """Returns the right clips."""
        right = [self._folder(entry["output_path"]) for entry in row["positive_frames"]]
        if not right:
            raise self.broken(row, "no clip is right")
        return {self._key(clip): 1.0 for clip in right}
