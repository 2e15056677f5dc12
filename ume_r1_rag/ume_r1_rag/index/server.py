"""Server: which Qdrant answers, and whether it can do what is asked of it.

A server passes over what it does not know in a request, and says nothing: an older one would write where a
condition forbids it, or count where it may not. So it is asked for its version first.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from ume_r1_rag.errors import IndexUnavailable

if TYPE_CHECKING:
    from ume_r1_rag.index.connection import Connection

logger = logging.getLogger(__name__)

OLDEST = (1, 17)
"""Writes that depend on what is stored (``update_mode``), and all that came before: collection metadata."""

OLDEST_WITH_TENANTS = (1, 19)
"""The rarity of a word within a part of the collection (``idf`` with a ``corpus``)."""


def check_server(connection: Connection, tenant: str | None) -> None:
    """Asks a server for its version; of an embedded client there is nothing to ask.

    A server whose version cannot be had, behind a gateway that hides it, say, is logged and taken as it is.

    Args:
        connection: an open client.
        tenant: whose documents it is opened for.

    Raises:
        IndexUnavailable: the server is too old; or it fails.
    """
    if connection.embedded:
        return
    found = _version(connection)
    match = re.match(r"(\d+)\.(\d+)[\w.+-]{0,40}", found)
    if match is None:
        logger.warning(
            "the server at %r does not say which Qdrant it is: it must be %s or newer, and %s or newer for "
            "tenants",
            connection.location,
            _text(OLDEST),
            _text(OLDEST_WITH_TENANTS),
        )
        return
    version = int(match[1]), int(match[2])
    if version < OLDEST:
        raise IndexUnavailable(
            f"the server at {connection.location!r} is Qdrant {match[0]}, and would write where it must not: "
            f"use Qdrant {_text(OLDEST)} or newer, or path= for an embedded collection"
        )
    if tenant is not None and version < OLDEST_WITH_TENANTS:
        raise IndexUnavailable(
            f"the server at {connection.location!r} is Qdrant {match[0]}, and would weigh words by other "
            f"tenants' documents: for tenant={tenant!r} use Qdrant {_text(OLDEST_WITH_TENANTS)} or newer"
        )


def _version(connection: Connection) -> str:
    """Returns what a server says of its version; empty if it says nothing."""
    from qdrant_client.http.exceptions import UnexpectedResponse

    with connection.use():
        try:
            return connection.client.info().version
        except UnexpectedResponse as error:
            if error.status_code in (401, 403, 404):
                return ""
            raise


def _text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
