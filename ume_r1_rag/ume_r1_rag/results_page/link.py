"""Link: where a click on a hit leads, if that is somewhere harmless."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath
from urllib.parse import quote, urlsplit

from ume_r1_rag.describe import CONTROLS
from ume_r1_rag.types import Hit


def link(hit: Hit) -> str | None:
    """Returns the address of what a hit is a part of, or None if it has none that may be followed.

    A file by its absolute path becomes a ``file:`` address, which a page that was opened from the same
    machine may follow; an ``http(s)`` address stays as it is. Anything else, ``javascript:`` above all, is
    none. A PDF's page and a segment's span become a fragment, as browsers' viewers and players read them.
    """
    address = _address(hit.uri)
    if address is None or "#" in address:
        return address
    if hit.page is not None:
        return f"{address}#page={hit.page}"
    if hit.span_s is not None:
        return f"{address}#t={hit.span_s[0]:g},{hit.span_s[1]:g}"
    return address


def _address(uri: str) -> str | None:
    # A byte that was no UTF-8 is spelled out in a stored path, which then names no file.
    if not uri or CONTROLS.search(uri) or "\\udc" in uri:
        return None
    for path in (PurePosixPath(uri), PureWindowsPath(uri)):
        if path.is_absolute():
            return path.as_uri()
    try:
        parts = urlsplit(uri)
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    return quote(uri, safe="%/:=&?~#+!$,;'@()*[]")
