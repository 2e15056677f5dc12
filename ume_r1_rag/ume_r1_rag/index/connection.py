"""Connection: a Qdrant client for a folder, for memory or for a server."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ume_r1_rag.describe import describe_url, shorten
from ume_r1_rag.errors import ConfigError, IndexAbsent, IndexLocked, IndexUnavailable

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

    from ume_r1_rag.index.postings import Postings

MEMORY = ":memory:"
TIMEOUT_S = 60

_GONE = re.compile(r"Collection .* not found|QdrantLocal instance is closed\..*", re.DOTALL)

# Reentrant: a garbage collection may close an index while another one is being opened.
_GUARD = threading.RLock()
_LOCKS: weakref.WeakKeyDictionary[QdrantClient, threading.RLock] = weakref.WeakKeyDictionary()
"""One lock for each embedded client, however many indexes share it."""

_FOLDERS: dict[tuple[int, str], _Holder] = {}
"""The folders that this process has open, by process (a fork has its own) and real path."""


@dataclass(slots=True, weakref_slot=True)
class _Holder:
    """A client that was opened here.

    Attributes:
        client: the client.
        users: how many connections close it with the last of them.
        folder: where it stands in ``_FOLDERS``, if it does.
        postings: of its collections, by physical name; None once the client was given away.
    """

    client: QdrantClient
    users: int = 0
    folder: tuple[int, str] | None = None
    postings: dict[str, Postings] | None = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Can be found by its client from now on."""
        _HOLDERS[id(self.client)] = self


_HOLDERS: weakref.WeakValueDictionary[int, _Holder] = weakref.WeakValueDictionary()


@dataclass(slots=True)
class Connection:
    """An open client.

    Attributes:
        client: the client.
        location: where it leads, as a user would name it, without a password.
        embedded: whether it runs in this process, by exact search, instead of on a server.
        owned: whether it was opened here, so that it is closed with the last connection that owns it.
        holder: what such connections share; None for a client that was opened elsewhere.
    """

    client: QdrantClient
    location: str
    embedded: bool
    owned: bool = False
    holder: _Holder | None = None
    _open: bool = field(default=True, repr=False)

    def __post_init__(self) -> None:
        """Counts itself among the client's users."""
        if self.owned and self.holder is not None:
            with _GUARD:
                self.holder.users += 1

    @property
    def postings(self) -> dict[str, Postings] | None:
        """The words of an embedded client's collections, by physical name; None if others may write there."""
        return self.holder.postings if self.embedded and self.holder is not None else None

    def expose(self) -> QdrantClient:
        """Returns the client for others, who may write by other means from now on."""
        if self.holder is not None:
            self.holder.postings = None
        return self.client

    @contextmanager
    def use(self) -> Iterator[None]:
        """Holds the client for some calls, and words what goes wrong with its folder or server.

        Raises:
            IndexUnavailable: the store failed.
        """
        import grpc
        from qdrant_client.common.client_exceptions import QdrantException
        from qdrant_client.http.exceptions import ApiException

        with _lock(self.client, self.embedded):
            try:
                yield
            except (ApiException, QdrantException, grpc.RpcError, OSError, sqlite3.Error) as error:
                raise _unavailable(self.location, self.embedded, error) from error
            except (ValueError, RuntimeError) as error:
                # Embedded Qdrant has no errors of its own: these two it words so.
                if not _GONE.fullmatch(str(error)):
                    raise
                raise IndexUnavailable(
                    f"the index in {self.location!r} is closed, or the version that it had open was dropped "
                    f"({error}): open it again"
                ) from error

    def close(self) -> None:
        """Gives the client back; a second call does nothing."""
        with _GUARD:
            was_open, self._open = self._open, False
            if self.holder is None or not self.owned or not was_open:
                return
            self.holder.users -= 1
            if self.holder.users:
                return
            if self.holder.folder is not None:
                _FOLDERS.pop(self.holder.folder, None)
            # Under the guard: whoever opens the folder next must find it free.
            self.client.close()


def connect(
    path: str | Path | None = None,
    url: str | None = None,
    api_key: str | None = None,
    client: QdrantClient | None = None,
    create: bool = True,
    prefer_grpc: bool = False,
) -> Connection:
    """Returns a client for a folder (``path``), ``":memory:"`` or a server (``url``), or the given one.

    With none of these, the server in ``QDRANT_URL``, its key in ``QDRANT_API_KEY``. The variable for the key
    belongs to the variable for the URL: it is never sent to a ``url`` given here.

    A folder is one of Qdrant's embedded storages, which are read with ``pickle``: open only your own. All
    connections of a process to one folder share one client, which is closed with the last of them.

    Args:
        path: a folder, made if it is absent and ``create`` is set, or ``":memory:"``.
        url: a server.
        api_key: the server's key.
        client: an open client to share, which stays its owner's to close.
        create: whether a folder may be made.
        prefer_grpc: whether to talk gRPC to a server where that is possible.

    Raises:
        ConfigError: more than one place, or none; a folder that is absent and may not be made; a
            URL that is none.
        IndexUnavailable: a folder that is broken or a file, a server that does not answer.
        IndexLocked: another process, or a foreign client in this one, holds the folder.
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
        return _remote(url, api_key, prefer_grpc)
    return _embedded(str(path), create)


def _embedded(path: str, create: bool) -> Connection:
    from qdrant_client import QdrantClient

    if path == MEMORY:
        client = QdrantClient(MEMORY)
        return Connection(client, MEMORY, embedded=True, owned=True, holder=_Holder(client))
    if not create and not Path(path, "meta.json").exists():
        raise IndexAbsent(f"path={path!r} holds no index: make one first, e.g. with `ume-r1 index`")
    key = (os.getpid(), os.path.realpath(path))
    with _GUARD:
        holder = _FOLDERS.get(key)
        if holder is None:
            holder = _FOLDERS[key] = _Holder(_open_folder(path), folder=key)
        return Connection(holder.client, path, embedded=True, owned=True, holder=holder)


def _open_folder(path: str) -> QdrantClient:
    from qdrant_client import QdrantClient

    try:
        _remove_torn(Path(path))
        return QdrantClient(path=path)
    except (
        Exception
    ) as error:  # JSON, SQLite, pickle, the file system: errors of a broken folder share no base
        if not isinstance(error, RuntimeError) or "already accessed" not in str(error):
            raise _unavailable(path, True, error) from error
        raise IndexLocked(
            f"path={path!r} is held by another process, or by a client in this one that is not the index's: "
            "an embedded collection has one user at a time. Close the other, or run a Qdrant server and set "
            "QDRANT_URL (or pass url=) for both."
        ) from error


def _remove_torn(folder: Path) -> None:
    """Removes what is left of a folder's first file if its maker was killed in the middle of it.

    The client puts all later versions in place whole, and nothing is stored before there is a first one.
    """
    meta = folder / "meta.json"
    if meta.is_file() and not (folder / "collection").exists():
        try:
            json.loads(meta.read_text(encoding="utf-8"))
        except ValueError:
            meta.unlink()


def _remote(url: str, api_key: str | None, prefer_grpc: bool) -> Connection:
    from qdrant_client import QdrantClient
    from qdrant_client.http.exceptions import ApiException

    try:
        # The version check would be a request of its own, with a warning for an answer.
        client = QdrantClient(
            url=url, api_key=api_key, timeout=TIMEOUT_S, check_compatibility=False, prefer_grpc=prefer_grpc
        )
        connection = Connection(client, describe_url(url), embedded=False, owned=True, holder=_Holder(client))
        with connection.use():
            client.get_collections()
    except ValueError as error:
        # The cause may quote the URL, with the password that is in it.
        raise ConfigError(
            f"url={describe_url(url)!r} leads nowhere ({str(error).replace(url, describe_url(url))}): give "
            "one like http://localhost:6333, or path= for an embedded collection"
        ) from None
    except ApiException as error:  # from the constructor
        raise _unavailable(describe_url(url), False, error) from error
    return connection


def _borrowed(client: QdrantClient) -> Connection:
    options = client.init_options
    place = options.get("path") or options.get("location")
    holder = _HOLDERS.get(id(client))
    if options.get("path") or place == MEMORY:
        return Connection(client, str(place), embedded=True, holder=holder)
    named = options.get("url") or place or options.get("host")
    return Connection(client, describe_url(str(named)) if named else "server", embedded=False, holder=holder)


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
