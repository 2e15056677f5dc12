"""Filters: LlamaIndex's, ours and Qdrant's as one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

from ume_r1_rag.errors import ConfigError
from ume_r1_rag.index import to_filter
from ume_r1_rag.index.filters import field_path

if TYPE_CHECKING:
    from qdrant_client import models

AnyFilter: TypeAlias = "MetadataFilters | MetadataFilter | models.Filter | Mapping[str, Any] | None"
"""LlamaIndex's filters, a mapping ``{field: value | [values]}``, Qdrant's own filter, or None."""

_RANGES = {
    FilterOperator.GT: "gt",
    FilterOperator.GTE: "gte",
    FilterOperator.LT: "lt",
    FilterOperator.LTE: "lte",
}


def qdrant_filter(filter: AnyFilter) -> models.Filter | None:
    """Returns any filter as Qdrant's; fields are named as in :func:`ume_r1_rag.index.to_filter`.

    Raises:
        ConfigError: an operator does not fit its value; there is nothing to filter by.
    """
    if isinstance(filter, MetadataFilter):
        filter = MetadataFilters(filters=[filter])
    if not isinstance(filter, MetadataFilters):
        return to_filter(filter)
    return _group(filter)


def _group(filters: MetadataFilters) -> models.Filter:
    from qdrant_client import models

    if not filters.filters:
        raise ConfigError("MetadataFilters without any filter: leave it out, or say what is wanted")
    found: list[Any] = [
        _group(one) if isinstance(one, MetadataFilters) else _condition(one) for one in filters.filters
    ]
    if filters.condition == FilterCondition.OR:
        return models.Filter(should=found)
    if filters.condition == FilterCondition.NOT:
        return models.Filter(must_not=found)
    return models.Filter(must=found)


def _condition(one: MetadataFilter) -> models.Condition:
    from qdrant_client import models

    operator, value = one.operator or FilterOperator.EQ, one.value
    path = field_path(one.key)
    if operator == FilterOperator.IS_EMPTY:
        return models.IsEmptyCondition(is_empty=models.PayloadField(key=path))
    if operator in _RANGES:
        if not isinstance(value, int | float):
            raise _misfit(one, "a number")
        return models.FieldCondition(key=path, range=models.Range(**{_RANGES[operator]: value}))
    if operator in (FilterOperator.TEXT_MATCH, FilterOperator.TEXT_MATCH_INSENSITIVE):
        if not isinstance(value, str):
            raise _misfit(one, "a text")
        return models.FieldCondition(key=path, match=models.MatchText(text=value))
    if operator in (FilterOperator.EQ, FilterOperator.NE, FilterOperator.CONTAINS):
        return _matching(path, value, negated=operator == FilterOperator.NE)
    if not isinstance(value, list):
        raise _misfit(one, "a list")
    if operator == FilterOperator.ALL:
        return models.Filter(must=[_matching(path, each) for each in value])
    # IN, ANY and NIN: a field that holds a list matches by any of its entries.
    return _matching(path, value, negated=operator == FilterOperator.NIN)


def _matching(path: str, value: Any, *, negated: bool = False) -> models.Condition:
    from qdrant_client import models

    wanted = cast("models.Filter", to_filter({path: value}))
    return models.Filter(must_not=[wanted]) if negated else models.Filter(must=[wanted])


def _misfit(one: MetadataFilter, wanted: str) -> ConfigError:
    return ConfigError(f"filter {one.key} {one.operator.value} {one.value!r}: this operator takes {wanted}")
