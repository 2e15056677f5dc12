"""Filters: a plain mapping of payload fields, translated to Qdrant's conditions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from ume_r1_rag.errors import ConfigError
from ume_r1_rag.index.payload import FIELDS
from ume_r1_rag.unicode import unicode_text

if TYPE_CHECKING:
    from qdrant_client import models

Filter: TypeAlias = "models.Filter | Mapping[str, Any] | None"
"""Qdrant's own filter, or ``{field: value | [values]}``: all fields must match, any value may."""


def to_filter(filter: Filter) -> models.Filter | None:
    """Returns Qdrant's form of a filter; one that is Qdrant's already passes through untouched.

    In a mapping, a field is one of ours by its short name (``kind``, ``page``, ``document``, …), or any
    other top-level or dotted payload path that starts with ``ume_`` or contains a dot
    (``metadata.page``), or else a field of the documents' own metadata. A value is a str, int, bool or
    float to be equal to; a list of those, one of which must be; or None for "has no such field". An
    empty list matches nothing.

    Raises:
        ConfigError: a value is of another type.
    """
    from qdrant_client import models

    if filter is None or isinstance(filter, models.Filter):
        return filter
    if not isinstance(filter, Mapping):
        raise ConfigError(f"filter={filter!r} is neither a mapping nor a qdrant_client.models.Filter")
    return models.Filter(must=[_condition(field_path(field), value) for field, value in filter.items()])


def field_path(field: str) -> str:
    """Returns the payload path of a field as a mapping names it."""
    if field in FIELDS:
        return f"ume_{field}"
    return field if field.startswith("ume_") or "." in field else f"ume_metadata.{field}"


def _condition(path: str, value: Any) -> models.Condition:
    from qdrant_client import models

    if value is None:
        return models.IsEmptyCondition(is_empty=models.PayloadField(key=path))
    if isinstance(value, (list, tuple, set, frozenset)):
        values = [unicode_text(v) if isinstance(v, str) else v for v in value]
        # One MatchAny can use a server's index, but takes only strings or only integers.
        if all(isinstance(v, str) for v in values) or all(type(v) is int for v in values):
            return models.FieldCondition(key=path, match=models.MatchAny(any=values))
        return models.Filter(should=[_condition(path, v) for v in values])
    if isinstance(value, str):
        # As it would be stored.
        return models.FieldCondition(key=path, match=models.MatchValue(value=unicode_text(value)))
    if isinstance(value, (bool, int)):
        return models.FieldCondition(key=path, match=models.MatchValue(value=value))
    if isinstance(value, float):
        return models.FieldCondition(key=path, range=models.Range(gte=value, lte=value))
    raise ConfigError(
        f"filter on {path}: {value!r} is no value to compare with; "
        "use str, int, float, bool, None or a list of these, or pass a qdrant_client.models.Filter"
    )
