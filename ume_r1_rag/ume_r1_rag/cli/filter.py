"""Filter: what ``--filter`` says, held to the fields that there are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from ume_r1_rag.cli.screen import clean
from ume_r1_rag.types import ItemKind

if TYPE_CHECKING:
    from ume_r1_rag.index import QdrantIndex

_USUAL = ("kind", "title", "document", "page", "uri", "key", "gen_valid", "gen_issue", "think")
"""Our fields that are worth filtering by; the others can be, too."""

_TEXTS = frozenset(
    [*_USUAL[:3], "uri", "key", "gen_issue", "text", "summary", "reasoning", "content_hash", "fingerprint"]
)
"""Our fields that hold text, whatever it looks like."""

_SAMPLE = 1000
"""Documents that are looked at for the names of their own fields."""

FilterOption = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="KEY=VALUE",
        help="Only documents of this field: kind, page, title, document, your metadata. Values as in JSON or "
        "bare; several keys must all match, several values of a key may. A field that no document has is an "
        "error.",
    ),
]


def filters(pairs: Sequence[str] | None) -> dict[str, Any] | None:
    """Returns the filter of ``KEY=VALUE`` pairs; of one key that is given again any value may match.

    A value is read as JSON if it is a number, a string in quotes, true, false, null or a list of these, and
    is text otherwise; of a field that holds text numbers are text, too.

    Raises:
        typer.BadParameter: one is no such pair.
    """
    found: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise _bad(f"{pair!r}: give KEY=VALUE such as kind=page or page=3")
        key = key.strip()
        value = _value(text, is_text=key.removeprefix("ume_") in _TEXTS)
        if key in found:
            before = found[key] if isinstance(found[key], list) else [found[key]]
            value = [*before, *(value if isinstance(value, list) else [value])]
        found[key] = value
    return found or None


def check_filter(index: QdrantIndex, filter: Mapping[str, Any] | None) -> None:
    """Refuses a filter that can match nothing, or everything, because of a slip.

    Args:
        index: of whose documents, those of its tenant alone, the fields are.
        filter: see :func:`filters`.

    Raises:
        typer.BadParameter: no document has a field of that name; or it never has such a value.
    """
    if not filter:
        return
    points = index.count()
    for field, value in filter.items():
        name = field.removeprefix("ume_")
        if name == "tenant":
            raise _bad("tenant is not filtered by: give --tenant NAME")
        _check_values(name, value if isinstance(value, list) else [value])
        if points and not _is_ours(field) and _lacking(index, field) == points:
            raise _bad(_unknown(index, field))


def _is_ours(field: str) -> bool:
    from ume_r1_rag.index.payload import FIELDS

    return field.removeprefix("ume_") in FIELDS


def _lacking(index: QdrantIndex, field: str) -> int:
    """Returns how many documents have no such field."""
    try:
        return index.count({field: None})
    except ValueError:  # embedded Qdrant's word for a path that cannot be one
        return index.count()


def _unknown(index: QdrantIndex, field: str) -> str:
    from ume_r1_rag.index.payload import FIELDS

    sample = islice(index.scroll(fields=["ume_metadata"]), _SAMPLE)
    own = sorted({clean(name) for hit in sample for name in hit.payload.get("ume_metadata") or ()})
    near = get_close_matches(field, [*FIELDS, *own], n=1)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    metadata = f"; in their metadata: {', '.join(own)}" if own else ""
    return f"no document has a field {clean(field)!r}.{meant} There are {', '.join(_USUAL)}{metadata}"


def _check_values(name: str, values: Sequence[Any]) -> None:
    """Raises if a field of ours never has one of these values; None stands for "has no such field"."""
    given = [value for value in values if value is not None]
    kinds = get_args(ItemKind)
    if name == "kind" and (other := [value for value in given if value not in kinds]):
        near = get_close_matches(str(other[0]), kinds, n=1)
        meant = f" Did you mean {near[0]!r}?" if near else ""
        raise _bad(f"no document is of kind {clean(other[0])!r}.{meant} Kinds are {', '.join(kinds)}")
    if name == "page" and (other := [value for value in given if type(value) is not int]):
        raise _bad(f"page={clean(other[0])}: a page is a whole number, such as page=3 or page='[3,4]'")
    if name == "gen_valid" and (other := [value for value in given if type(value) is not bool]):
        raise _bad(f"gen_valid={clean(other[0])}: give true or false")


def _value(text: str, *, is_text: bool) -> Any:
    try:
        value = json.loads(text, parse_constant=str)
    except json.JSONDecodeError:
        return text
    if isinstance(value, dict) or (is_text and isinstance(value, bool | int | float)):
        return text
    if is_text and isinstance(value, list):
        return [one if isinstance(one, str) or one is None else json.dumps(one) for one in value]
    return value


def _bad(message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint="'--filter'")
