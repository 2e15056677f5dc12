"""Files: what lies under some paths, one at a time, each once.

Memory does not grow with the number of files. A file in a given folder can only be met again through a
link, so a link that leads into the given folders is left to its target. Remembered are the given paths
themselves, and what links to the outside lead to.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from ume_r1_rag.errors import ConfigError, InputError, UmeR1Error
from ume_r1_rag.ingest.report import Failure, Skipped
from ume_r1_rag.media.mediatype import kind_of_name
from ume_r1_rag.types import ItemKind
from ume_r1_rag.unicode import unicode_text

TEXT_SUFFIXES = frozenset({".txt", ".md", ".markdown"})

Source: TypeAlias = "str | os.PathLike[str]"

SORTED_NAMES = 10_000
"""Names of a folder that are sorted at a time: all of nearly every folder, and a bound for the others."""


def kind_of_file(path: str) -> ItemKind | None:
    """Returns what becomes of a file of that name, or None if nothing does."""
    name = Path(path).name
    suffix = Path(name).suffix.lower()
    if suffix == ".pdf":
        return "page"
    if suffix in TEXT_SUFFIXES:
        return "text"
    media = kind_of_name(name)
    return "clip" if media == "video" else media


@dataclass(frozen=True, slots=True)
class File:
    """One file: where it is, and what its documents are called.

    Attributes:
        real: its absolute path without any link.
        path: the absolute path by which it was reached.
        title: what a user calls it.
    """

    real: str
    path: str
    title: str

    @classmethod
    def at(cls, path: str, title: str = "") -> File:
        """Returns the file at a path, its links resolved."""
        shown = Path(path).absolute()  # not os.path.abspath, which takes "link/.." apart wrongly
        return cls(os.path.realpath(path), str(shown), title or unicode_text(shown.name))

    @property
    def key(self) -> str:
        """What its documents' keys start with: one file has one, through whichever links it is reached."""
        return unicode_text(Path(self.real).as_posix())

    @property
    def uri(self) -> str:
        """Where it is, as text."""
        return unicode_text(self.path)

    @property
    def kind(self) -> ItemKind | None:
        """What its documents are: by its own name, else by the name of the link that leads to it."""
        return kind_of_file(self.real) or kind_of_file(self.path)

    def failure(self, error: Exception, part: str = "") -> Failure:
        """Returns what is reported when it, or a part of it (``"page=3"``), cannot be used."""
        # Codecs raise whatever they like, down to struct.error, and hours of work hang on the next file.
        ours = isinstance(error, UmeR1Error)
        text = str(error) if ours else f"{self.uri} cannot be read: {type(error).__name__}: {error}"
        name = type(error).__name__ if ours else InputError.__name__
        key = f"{self.key}#{part}" if part else self.key
        return Failure(key, self.key, self.uri, self.title, name, unicode_text(text))


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that could be read."""

    key: str


def path_of(text: str) -> str:
    r"""Returns a path that was written as well-formed text (``\udcff`` for a byte that is no UTF-8)."""
    if os.path.lexists(text) or "\\udc" not in text:
        return text
    head, *rest = text.split("\\udc")
    for part in rest:
        code = part[:2]
        try:
            head += chr(0xDC00 + int(code, 16)) + part[2:]
        except ValueError:
            head += f"\\udc{part}"
    return head


class Walk:
    """The files under some paths, in order of name, depth first.

    A given path is a file or a folder. Hidden entries (``.name``) in a folder are passed over. Links are
    followed; one to what is read anyway is ``Skipped``, and no folder is entered twice. Folders with more
    than ``SORTED_NAMES`` entries are sorted in portions.
    """

    def __init__(self, paths: Iterable[Source]) -> None:
        """Looks at the given paths; nothing in folders is read yet.

        Raises:
            ConfigError: a path holds a NUL character.
        """
        self._given = [os.fspath(path) for path in paths]
        self._folders: set[str] = set()
        self._files: set[str] = set()
        self._linked: set[str] = set()
        self._met: set[str] = set()
        for path in self._given:
            if "\0" in path:
                raise ConfigError(f"path {path!r} holds a NUL character: no file has such a name")
            real = os.path.realpath(path)
            (self._folders if os.path.isdir(real) else self._files).add(real)
        # A folder inside of another is read with that one.
        self._folders = {folder for folder in self._folders if not self._is_inside(folder)}

    def __iter__(self) -> Iterator[File | Folder | Failure | Skipped]:
        """Yields files, the folders that were entered, and what could not be."""
        started: set[str] = set()
        for path in self._given:
            file = File.at(path)
            if os.path.isdir(file.real):
                if file.real in started or file.real not in self._folders:
                    yield Skipped(file.uri, "a folder that is read already")
                else:
                    started.add(file.real)
                    yield from self._folder(file)
            elif self._is_inside(file.real) and kind_of_file(file.real):
                yield Skipped(file.uri, _AGAIN)
            else:
                yield from self._file(file)

    def _file(self, file: File) -> Iterator[File | Failure | Skipped]:
        """Yields a file that was given itself, or met through a link that leads outside."""
        try:
            mode = Path(file.path).stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            yield file.failure(InputError(f"{file.uri} does not exist: check the path"))
            return
        except OSError as error:
            yield file.failure(error)
            return
        if not stat.S_ISREG(mode):
            yield Skipped(file.uri, "neither a file nor a folder")
        elif file.kind is None:
            yield Skipped(file.uri, _unknown(file.path))
        elif file.real in self._met:
            yield Skipped(file.uri, _AGAIN)
        else:
            self._met.add(file.real)
            yield file

    def _folder(self, top: File) -> Iterator[File | Folder | Failure | Skipped]:
        """Yields what is in a folder; a stack in place of recursion, however deep it goes."""
        waiting: list[Iterator[File | Folder | Failure | Skipped | _Inner]] = [
            self._entries(_Inner(top.real, top.path, ""))
        ]
        while waiting:
            for found in waiting[-1]:
                if isinstance(found, _Inner):
                    waiting.append(self._entries(found))
                    break
                yield found
            else:
                waiting.pop()

    def _entries(self, folder: _Inner) -> Iterator[File | Folder | Failure | Skipped | _Inner]:
        """Yields what stands in one folder itself."""
        try:
            with os.scandir(folder.path) as names:
                yield Folder(unicode_text(folder.real))
                visible = (entry for entry in names if not entry.name.startswith("."))
                while portion := list(islice(visible, SORTED_NAMES)):
                    for entry in sorted(portion, key=lambda entry: entry.name):
                        yield from self._entry(folder, entry)
        except OSError as error:
            yield File(folder.real, folder.path, unicode_text(folder.title)).failure(error)

    def _entry(
        self, folder: _Inner, entry: os.DirEntry[str]
    ) -> Iterator[File | Folder | Failure | Skipped | _Inner]:
        title = f"{folder.title}/{entry.name}" if folder.title else entry.name
        shown = entry.path
        if entry.is_symlink():
            yield from self._link(shown, title)
            return
        real = str(Path(folder.real, entry.name))
        if entry.is_dir(follow_symlinks=False):
            if real not in self._folders and real not in self._linked:
                yield _Inner(real, shown, title)
            return
        file = File(real, shown, unicode_text(title))
        if not entry.is_file(follow_symlinks=False):
            yield Skipped(file.uri, "neither a file nor a folder")
        elif file.kind is None:
            yield Skipped(file.uri, _unknown(shown))
        elif real in self._met or (real in self._files and not self._is_inside(real)):
            yield Skipped(file.uri, _AGAIN)
        else:
            yield file

    def _link(self, shown: str, title: str) -> Iterator[File | Folder | Failure | Skipped | _Inner]:
        file = File.at(shown, unicode_text(title))
        try:
            mode = Path(shown).stat().st_mode
        except PermissionError as error:
            yield file.failure(error)
            return
        except OSError:  # it is broken, or a link of a loop
            yield Skipped(file.uri, "a link that leads nowhere")
            return
        if stat.S_ISDIR(mode):
            known = file.real in self._folders or file.real in self._linked
            if not known and not self._is_inside(file.real, linked=True):
                self._linked.add(file.real)
                yield _Inner(file.real, shown, title)
        elif kind_of_file(file.real) and (
            file.real in self._files or self._is_inside(file.real, linked=True)
        ):
            yield Skipped(file.uri, _AGAIN)
        else:
            yield from self._file(file)

    def _is_inside(self, real: str, linked: bool = False) -> bool:
        """Returns whether a given folder leads to a path without any link and any hidden name.

        Args:
            real: the path.
            linked: whether a folder that was entered through a link will do, too.
        """
        below = real
        while True:
            parent, name = os.path.split(below)
            if not name or name.startswith("."):
                return False
            if parent in self._folders or (linked and parent in self._linked):
                return True
            below = parent


@dataclass(frozen=True, slots=True)
class _Inner:
    """A folder to be entered: its path without links, the path by which it was reached, its title."""

    real: str
    path: str
    title: str


_AGAIN = "a second path to a file that is read anyway"


def _unknown(path: str) -> str:
    return f"unknown extension {unicode_text(Path(path).suffix.lower())!r}"


def as_paths(paths: Source | Iterable[Source]) -> Sequence[Source]:
    """Returns one path, or several, as a list."""
    return [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
