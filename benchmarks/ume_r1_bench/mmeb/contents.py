"""Contents: what there is to be encoded, each once, however often it occurs as a query or candidate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ume_r1_rag.cache.content import content_digest
from ume_r1_rag.describe import shorten
from ume_r1_rag.errors import UmeR1Error

if TYPE_CHECKING:
    from ume_r1_bench.mmeb.row import Item
    from ume_r1_rag.types import MultimodalInput

Role = Literal["query", "document"]


@dataclass(frozen=True, slots=True)
class Content:
    """One thing to be encoded.

    Attributes:
        key: digest of all that an encoder reads of it, with the role where that makes a difference.
        role: what it is to the encoder.
        input: what the encoder sees.
    """

    key: str
    role: Role
    input: MultimodalInput


@dataclass(slots=True)
class Contents:
    """The contents of rows, with those that cannot be read.

    Attributes:
        by_role: whether the encoder treats queries and documents differently.
        all: by key.
        unreadable: key → why, of files that are absent or no file.
    """

    by_role: bool = False
    all: dict[str, Content] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    _keys: dict[tuple[str, Item], str] = field(default_factory=dict)

    def add(self, item: Item, role: Role) -> str:
        """Returns the key of an item, which is taken in."""
        place = (role if self.by_role else "", item)
        if place not in self._keys:
            self._keys[place] = self._take(item, role)
        return self._keys[place]

    def add_all(self, items: Iterable[Item], role: Role) -> list[str]:
        """Returns the keys of items, which are taken in."""
        return [self.add(item, role) for item in items]

    def add_input(self, given: MultimodalInput, role: Role) -> str:
        """Returns the key of an input that stands in no row, which is taken in."""
        digest = content_digest(given)
        key = f"{role}-{digest}" if self.by_role else str(digest)
        self.all.setdefault(key, Content(key, role, given))
        return key

    def _take(self, item: Item, role: Role) -> str:
        absent = next((path for path in (*item.images, *item.frames) if not path.is_file()), None)
        why = None if absent is None else f"{shorten(str(absent))} is not there"
        if why is None:
            try:
                given = item.to_input()
                if content_digest(given) is not None:
                    return self.add_input(given, role)
                why = "one of its files cannot be read"
            except UmeR1Error as error:
                why = str(error)
        key = f"unreadable-{len(self.unreadable)}"
        self.unreadable[key] = why
        return key
