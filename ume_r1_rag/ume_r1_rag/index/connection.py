"""Connection: a Qdrant client for a folder, for memory or for a server."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ume_r1_rag.describe import describe_url, shorten
from ume_r1_rag.errors import ConfigError, IndexLocked, IndexUnavailable

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

MEMORY = ":memory:"
TIMEOUT_S = 60

_GUARD = threading.Lock()
_LOCKS: weakref.WeakKeyDictionary[QdrantClient, threading.RLock] = weakref.WeakKeyDictionary()
"""One lock for each embedded client, however many indexes share it."""


@dataclass(frozen=True, slots=True)
class Connection:
    """An open client.

    Attributes:
        client: the client.
        location: where it leads, as a user would name it, without a password.
        embedded: whether it runs in this process, by exact search, instead of on a server.
        owned: whether it was opened here, so that it is ours to close.
    """

    client: QdrantClient
    location: str
    embedded: bool
    owned: bool

    @contextmanager
    def use(self) -> Iterator[None]:
        """Holds the client for some calls, and words what goes wrong with its folder or server.

        Raises:
            IndexUnavailable: the store failed.
        """
        from qdrant_client.http.exceptions import ApiException

        with _lock(self.client, self.embedded):
            try:
                yield
            except (ApiException, OSError, sqlite3.Error) as error:
                raise _unavailable(self.location, self.embedded, error) from error

    def close(self) -> None:
        """Closes the client if it is ours; a second call does nothing."""
        if self.owned:
            self.client.close()


def connect(
    path: str | Path | None = None,
    url: str | None = None,
    api_key: str | None = None,
    client: QdrantClient | None = None,
    create: bool = True,
) -> Connection:
    """Returns a client for a folder (``path``), ``":memory:"`` or a server (``url``), or the given one.

    With none of these, the server in ``QDRANT_URL``, its key in ``QDRANT_API_KEY``. The variable for the key
    belongs to the variable for the URL: it is never sent to a ``url`` given here.

    A folder is one of Qdrant's embedded storages, which are read with ``pickle``: open only your own.

    Args:
        path: a folder, made if it is absent and ``create`` is set, or ``":memory:"``.
        url: a server.
        api_key: the server's key.
        client: an open client to share, which stays its owner's to close.
        create: whether a folder may be made.

    Raises:
        ConfigError: more than one place, or none; a folder that is absent and may not be made; a
            URL that is none.
        IndexUnavailable: a folder that is broken or a file, a server that does not answer.
        IndexLocked: another process, or another client in this one, holds the folder.
    """
    if sum(place is not None for place in (path, url, client)) > 1:
        raise ConfigError("path=, url= and client= are each a place: give one of them")
    if client is not None:
        return _borrowed(client)
    if path is None and url is None:
        url = os.environ.get("QDRANT_URL")
        api_key = api_key or os.environ.get("QDRANT_API_KEY")
        if not url:
            raise ConfigError(
                'no index is named: give path="DIR", path=":memory:" or url=, or set QDRANT_URL'
            )
    if url is not None:
        return _remote(url, api_key)
    return _embedded(str(path), create)


def _embedded(path: str, create: bool) -> Connection:
    from qdrant_client import QdrantClient

    if path == MEMORY:
        return Connection(QdrantClient(MEMORY), MEMORY, embedded=True, owned=True)
    if not create and not Path(path, "meta.json").exists():
        raise ConfigError(f"path={path!r} holds no index: make one first, e.g. with `ume-r1 index`")
    try:
        return Connection(QdrantClient(path=path), path, embedded=True, owned=True)
    except (
        Exception
    ) as error:  # JSON, SQLite, pickle, the file system: errors of a broken folder share no base
        if not isinstance(error, RuntimeError) or "already accessed" not in str(error):
            raise _unavailable(path, True, error) from error
        raise IndexLocked(
            f"path={path!r} is held by another process, or by another index in this one: an embedded "
            "collection has one user at a time. Close the other, or run a Qdrant server and set QDRANT_URL "
            "(or pass url=) for both."
        ) from error


def _remote(url: str, api_key: str | None) -> Connection:
    from qdrant_client import QdrantClient
    from qdrant_client.http.exceptions import ApiException

    try:
        # The version check would be a request of its own, with a warning for an answer.
        client = QdrantClient(url=url, api_key=api_key, timeout=TIMEOUT_S, check_compatibility=False)
        client.get_collections()
    except ApiException as error:
        raise _unavailable(describe_url(url), False, error) from error
    except ValueError as error:
        # The cause may quote the URL, with the password that is in it.
        raise ConfigError(
            f"url={describe_url(url)!r} leads nowhere ({str(error).replace(url, describe_url(url))}): give "
            "one like http://localhost:6333, or path= for an embedded collection"
        ) from None
    return Connection(client, describe_url(url), embedded=False, owned=True)


def _borrowed(client: QdrantClient) -> Connection:
    options = client.init_options
    place = options.get("path") or options.get("location")
    if options.get("path") or place == MEMORY:
        return Connection(client, str(place), embedded=True, owned=False)
    named = options.get("url") or place or options.get("host")
    return Connection(client, describe_url(str(named)) if named else "server", embedded=False, owned=False)


def _lock(client: QdrantClient, embedded: bool) -> AbstractContextManager[Any]:
    """Returns what keeps threads apart: embedded Qdrant grows its arrays while it writes."""
    if not embedded:
        return nullcontext()
    with _GUARD:
        return _LOCKS.setdefault(client, threading.RLock())


def _unavailable(location: str, embedded: bool, error: Exception) -> IndexUnavailable:
    why = f"{type(error).__name__}: {shorten(str(error), 300)}"
    if embedded:
        return IndexUnavailable(
            f"the index in {location!r} cannot be used ({why}): check that it is a folder of an index, that "
            "it may be written and that the disk is not full; if it is broken, move it away and index again"
        )
    return IndexUnavailable(
        f"the Qdrant server at {location!r} does not answer, or refuses ({why}): check that it runs, its "
        "address and the key, or use path= for an embedded collection"
    )
