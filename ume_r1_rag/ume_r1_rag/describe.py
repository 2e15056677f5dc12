"""How a source is named in a message: short, harmless, and without the secrets a URL may carry."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from ume_r1_rag.unicode import unicode_text

_LONGEST = 120

CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f]")
"""All that can move a cursor, colour the rest or turn its direction; tab and line feed are spared."""


def printable(text: Any, instead: str = "") -> str:
    """Returns untrusted text with ``instead`` for each of ``CONTROLS``.

    Names of files and what a model wrote reach a terminal, a log or a page through this: an escape sequence
    in them would act there, and a turned direction would let a name lie.
    """
    return CONTROLS.sub(instead, unicode_text(str(text)))


def shorten(text: str, longest: int = _LONGEST) -> str:
    """Returns ``text`` printable, on one line, its middle cut out beyond ``longest`` characters."""
    text = printable(" ".join(text.split()))
    if len(text) <= longest:
        return text
    half = (longest - 3) // 2
    return f"{text[:half]}...{text[-half:]}"


def describe_url(url: str) -> str:
    """Returns a URL without user, query and fragment, where tokens and passwords are."""
    bare = url.split("#", 1)[0].split("?", 1)[0]
    scheme, sep, rest = bare.partition("://")
    if not sep:
        scheme, rest = "", bare
    host, slash, path = rest.partition("/")
    return shorten(f"{scheme}{sep}{host.rpartition('@')[2]}{slash}{path}")


def describe(source: Any) -> str:
    """Returns what a source is in a few words; its content is never shown."""
    if is_pil_image(source):
        return f"PIL image ({source.mode}, {source.width}x{source.height})"
    if isinstance(source, bytes | bytearray | memoryview):
        return f"{len(source)} bytes"
    if isinstance(source, os.PathLike):
        return shorten(os.fspath(Path(source)))
    if isinstance(source, str):
        if source.startswith("data:"):
            head = source[5:69].partition(",")[0].partition(";")[0]
            return f"data URL ({shorten(head, 40) or 'no type'}, {len(source)} characters)"
        return describe_url(source) if "://" in source[:16] else shorten(source)
    if isinstance(source, list | tuple):
        return f"{type(source).__name__} of {len(source)}"
    return f"a value of type {type(source).__name__}"


def is_pil_image(value: Any) -> bool:
    """Returns whether ``value`` is a PIL image, without importing PIL for the question."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(value, module.Image)
