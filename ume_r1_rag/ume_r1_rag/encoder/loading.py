"""Loading: an input's visuals, when its batch comes up, and never too many at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ume_r1_rag.backends.base import Media
    from ume_r1_rag.types import MultimodalInput

_LOADS = 32
"""Inputs whose visuals are fetched and decoded at a time: what callers may fill the memory with together."""


class Loading:
    """Makes loaders, all of which share the places that there are."""

    def __init__(self, places: int = _LOADS) -> None:
        """Has all of so many places free."""
        self._places = threading.BoundedSemaphore(places)

    def of(self, item: MultimodalInput, load: Callable[[MultimodalInput], Media]) -> Callable[[], Media]:
        """Returns what loads the visuals of one input, by ``load``, when it is called."""

        def loaded() -> Media:
            if not item.images and item.video is None:
                return load(item)
            with self._places:
                return load(item)

        return loaded
