"""Tenant: whose points a caller may see. A condition for what is selected, a check for what is named by id.

A tenant sees the points that carry its name, and nobody else's; without one, a caller sees the points that
carry none. Both rules are applied in :mod:`ume_r1_rag.index.scope`, which names the exceptions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ume_r1_rag.errors import ConfigError
from ume_r1_rag.unicode import unicode_text

if TYPE_CHECKING:
    from qdrant_client import models

FIELD: Final = "ume_tenant"
"""The payload field that names a point's tenant; absent where there is none."""

LONGEST: Final = 200


def check_tenant(tenant: str | None) -> str | None:
    """Returns ``tenant`` if it can name one.

    Names are compared code point by code point: case, accents and spaces count.

    Raises:
        ConfigError: it is blank, too long, no string, or no well-formed Unicode, which would be stored as
            what may be another tenant's name.
    """
    if tenant is None:
        return None
    if not isinstance(tenant, str) or not tenant.strip() or len(tenant) > LONGEST:
        raise ConfigError(
            f"tenant={tenant!r} names no tenant: give 1 to {LONGEST} characters, or None for points of none"
        )
    if unicode_text(tenant) != tenant:
        raise ConfigError(f"tenant={tenant!r} holds a surrogate: give well-formed Unicode")
    return tenant


def condition(tenant: str | None) -> models.Condition:
    """Returns what a point must fulfil to be this tenant's."""
    from qdrant_client import models

    if tenant is None:
        return models.IsEmptyCondition(is_empty=models.PayloadField(key=FIELD))
    return models.FieldCondition(key=FIELD, match=models.MatchValue(value=tenant))


def owns(tenant: str | None, payload: Mapping[str, Any] | None) -> bool:
    """Returns whether a point with this payload is this tenant's; the same rule as :func:`condition`."""
    return (payload or {}).get(FIELD) == tenant
