"""Pictures and frames that rows name, found below a task's folders; what is absent is noted."""

from __future__ import annotations

from pathlib import Path

from ume_r1_bench.mmeb.frames import list_frames, sample_frames


class Media:
    """The media of one task.

    Attributes:
        roots: folders that may hold them, the usual one first.
        missing: what was asked for and is in none of them, as where it would usually be, each once.
        found: how many files and folders were found.
    """

    def __init__(self, roots: list[Path]) -> None:
        """Takes the folders."""
        self.roots = roots
        self.missing: dict[Path, None] = {}
        self.found = 0
        self._frames: dict[str, tuple[Path, ...]] = {}

    def image(self, name: str) -> Path:
        """Returns a picture's path; where it is absent, the path it should have."""
        for root in self.roots:
            path = root / name
            if path.is_file():
                self.found += 1
                return path
        return self._absent(name)

    def folder(self, name: str) -> Path | None:
        """Returns a folder's path; None where it is absent."""
        return next((root / name for root in self.roots if (root / name).is_dir()), None)

    def frames(self, name: str, count: int | None) -> tuple[Path, ...]:
        """Returns a clip's frames, at most ``count``, evenly spaced; none where its folder has none.

        Args:
            name: the folder of the frames, below one of the roots.
            count: how many; None for all.
        """
        if name not in self._frames:
            found = next((frames for root in self.roots if (frames := list_frames(root / name))), ())
            if not found:
                self._absent(name)
            else:
                self.found += 1
            self._frames[name] = found
        return sample_frames(self._frames[name], count)

    def _absent(self, name: str) -> Path:
        path = self.roots[0] / name
        self.missing[path] = None
        return path
