"""Marks: what tells a file that the index names from one that a stranger's metadata names.

A document's metadata may hold anything, and a chat model is to be shown files of the index alone. So a
document that the index has a file for carries a mark over the file's place, made with a key that this process
drew. It is a string, and survives being copied, kept as JSON and read back; another process's is
worth nothing here.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from typing import Any, Final

FIELD: Final = "ume_mark"
"""The metadata's field with the mark. A document's own field of this name is dropped."""
PLACE: Final = ("uri", "kind", "page", "span_s", "document", "content_hash")
"""The metadata's fields that say what is opened; in a marked document they are the index's."""
FILES: Final = frozenset({"page", "image", "clip"})
"""The kinds that are shown from a file."""

_KEY: Final = secrets.token_bytes(32)


def mark(metadata: Mapping[str, Any]) -> str:
    """Returns the mark of what some metadata says is to be opened."""
    place = [metadata.get(name) for name in PLACE]
    return hmac.new(_KEY, json.dumps(place, default=str).encode(), hashlib.sha256).hexdigest()


def marked(metadata: Mapping[str, Any]) -> bool:
    """Returns whether this process's index named the file that some metadata names."""
    found = metadata.get(FIELD)
    return isinstance(found, str) and found.isascii() and hmac.compare_digest(found, mark(metadata))
