"""A Qdrant server's REST interface over loopback, in front of an embedded client.

It proves the wire and NOT the server. Requests are parsed with qdrant-client's own models and answered in the
REST interface's envelope, so a ``QdrantClient(url=…)`` really makes its requests, and they really are ones
that the interface knows; headers, keys, sizes and failures are those of a network. What is stored and found
is embedded mode's doing: no graph, no quantisation, no payload index, no consensus, no disk and no speed of a
server is shown by anything that passes here. For that, set ``QDRANT_URL`` and run ``tests/test_server.py``.

Where a server is known (from its source, version 1.19) to be stricter than embedded mode, so is this: a facet
needs a payload index, a body may have 32 MiB, all but ``/`` needs the key. What embedded mode forgets of a
collection's configuration is kept and told.
"""

from __future__ import annotations

import re
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any, get_type_hints
from urllib.parse import unquote

from loopback import Loopback, Request
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import to_json
from qdrant_client import QdrantClient
from qdrant_client.http import models

MOST_BYTES = 32 * 2**20
"""A server's ``max_request_size_mb``, unless it is told otherwise."""

_ROUTES: list[tuple[str, re.Pattern[str], str]] = []


def _route(method: str, path: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    pattern = re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", path))

    def note(handler: Callable[..., Any]) -> Callable[..., Any]:
        _ROUTES.append((method, pattern, handler.__name__))
        return handler

    return note


class Refused(Exception):
    """What the server answers with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class QdrantApp(Loopback):
    """The app; ``with QdrantApp() as app`` it listens at ``app.url``.

    Attributes:
        api_key: the key that requests must carry, or None.
        version: what it says it is.
        client: the embedded client that does the work.
        broken: what went wrong in the app itself, and where; the test is then worth nothing.
    """

    def __init__(self, api_key: str | None = None, version: str = "1.19.0") -> None:
        super().__init__()
        self.api_key, self.version = api_key, version
        self.client = QdrantClient(":memory:")
        self.broken: list[tuple[str, Exception]] = []
        self._created: dict[str, models.CreateCollection] = {}
        self._optimizers: dict[str, dict[str, Any]] = {}
        self._indexes: dict[str, dict[str, models.PayloadIndexInfo]] = {}
        self._lock = threading.RLock()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.client.close()

    def answer(self, request: Request, body: bytes, key: str | None) -> tuple[int, bytes]:
        started = time.perf_counter()
        try:
            result = self._answer(request, body, key)
        except Refused as error:
            if error.status == 401:
                return 401, str(error).encode()
            return error.status, _envelope(None, {"error": str(error)}, started)
        if isinstance(result, models.VersionInfo):
            return 200, to_json(result)
        return 200, _envelope(result, "ok", started)

    def error(self, message: str) -> bytes:
        return _envelope(None, {"error": message}, time.perf_counter())

    def admit(self, key: str | None) -> None:
        """Refuses whoever has no key, or a wrong one."""
        if self.api_key is not None and key is None:
            raise Refused(401, "Must provide an API key or an Authorization bearer token")
        if self.api_key is not None and key != self.api_key:
            raise Refused(401, "Invalid API key or JWT")

    def call(self, method: str, /, **arguments: Any) -> Any:
        """Returns what one of the routes' methods does, with a server's errors."""
        with self._lock, warnings.catch_warnings():
            # Embedded mode warns of what only a server does, which is what this stands in for.
            warnings.simplefilter("ignore")
            try:
                return getattr(self, method)(**arguments)
            except Refused:
                raise
            except ValueError as error:
                message = str(error)
                if re.search(r"(Collection|Alias) .* not found|does not exist", message):
                    raise Refused(404, f"Not found: {message}") from error
                if "already exists" in message:
                    raise Refused(409, message) from error
                raise Refused(400, f"Wrong input: {message}") from error
            except Exception as error:
                self.broken.append((method, error))
                raise Refused(500, f"Service internal error: {error!r}") from error

    def _answer(self, request: Request, body: bytes, key: str | None) -> Any:
        if request.path != "/":
            self.admit(key)
        if len(body) > MOST_BYTES:
            limit = f"(limit: {MOST_BYTES} bytes)"
            raise Refused(400, f"JSON payload ({len(body)} bytes) is larger than allowed {limit}.")
        for method, pattern, name in _ROUTES:
            match = pattern.fullmatch(request.path)
            if match and method == request.method:
                arguments: dict[str, Any] = {key: unquote(value) for key, value in match.groupdict().items()}
                wanted = get_type_hints(getattr(type(self), name)).get("body")
                if wanted is not None:
                    arguments["body"] = _parse(wanted, body)
                return self.call(name, **arguments)
        raise Refused(404, f"no such endpoint: {request.method} {request.path}")

    def _physical(self, name: str) -> str:
        if name in self._created:
            return name
        for alias in self.client.get_aliases().aliases:
            if alias.alias_name == name:
                return alias.collection_name
        raise Refused(404, f"Not found: Collection `{name}` doesn't exist!")

    @_route("GET", "/")
    def version_info(self) -> Any:
        return models.VersionInfo(
            title="qdrant - vector search engine", version=self.version, commit="0" * 40
        )

    @_route("GET", "/collections")
    def collections(self) -> Any:
        return self.client.get_collections()

    @_route("GET", "/aliases")
    def aliases(self) -> Any:
        return self.client.get_aliases()

    @_route("POST", "/collections/aliases")
    def change_aliases(self, body: models.ChangeAliasesOperation) -> Any:
        return self.client.update_collection_aliases(body.actions)

    @_route("GET", "/collections/{name}/aliases")
    def aliases_of(self, name: str) -> Any:
        return self.client.get_collection_aliases(name)

    @_route("GET", "/collections/{name}/exists")
    def exists(self, name: str) -> Any:
        return {"exists": self.client.collection_exists(name)}

    @_route("PUT", "/collections/{name}")
    def create(self, name: str, body: models.CreateCollection) -> Any:
        self.client.create_collection(
            name,
            vectors_config=body.vectors,
            sparse_vectors_config=body.sparse_vectors,
            metadata=body.metadata,
        )
        self._created[name], self._indexes[name], self._optimizers[name] = body, {}, {}
        return True

    @_route("GET", "/collections/{name}")
    def collection(self, name: str) -> Any:
        physical = self._physical(name)
        info, created = self.client.get_collection(physical), self._created[physical]
        params, optimizers = info.config.params, info.config.optimizer_config
        params.shard_number = created.shard_number or 1
        params.replication_factor = created.replication_factor or 1
        info.config.optimizer_config = optimizers.model_copy(update=self._optimizers[physical])
        info.payload_schema = dict(self._indexes[physical])
        return info

    @_route("PATCH", "/collections/{name}")
    def update(self, name: str, body: models.UpdateCollection) -> Any:
        physical = self._physical(name)
        if body.optimizers_config is not None:
            self._optimizers[physical] |= body.optimizers_config.model_dump(exclude_none=True)
        self.client.update_collection(
            physical, sparse_vectors_config=body.sparse_vectors, metadata=body.metadata
        )
        return True

    @_route("DELETE", "/collections/{name}")
    def delete_collection(self, name: str) -> Any:
        # A server deletes by the collection's own name; an alias is none.
        self._created.pop(name, None)
        return self.client.delete_collection(name)

    @_route("PUT", "/collections/{name}/index")
    def create_index(self, name: str, body: models.CreateFieldIndex) -> Any:
        kind = getattr(body.field_schema, "type", body.field_schema)
        self._indexes[self._physical(name)][body.field_name] = models.PayloadIndexInfo(
            data_type=models.PayloadSchemaType(str(getattr(kind, "value", kind))),
            params=body.field_schema if isinstance(body.field_schema, BaseModel) else None,
            points=0,
        )
        return self.client.create_payload_index(name, body.field_name, body.field_schema)

    @_route("DELETE", "/collections/{name}/index/{path}")
    def delete_index(self, name: str, path: str) -> Any:
        self._indexes[self._physical(name)].pop(path, None)
        return self.client.delete_payload_index(name, path)

    @_route("PUT", "/collections/{name}/points")
    def upsert(self, name: str, body: models.PointInsertOperations) -> Any:
        points = body.points if isinstance(body, models.PointsList) else body.batch
        return self.client.upsert(
            name, points, update_filter=body.update_filter, update_mode=body.update_mode
        )

    @_route("POST", "/collections/{name}/points")
    def retrieve(self, name: str, body: models.PointRequest) -> Any:
        payload = True if body.with_payload is None else body.with_payload
        return self.client.retrieve(name, body.ids, payload, body.with_vector or False)

    @_route("POST", "/collections/{name}/points/delete")
    def delete(self, name: str, body: models.PointsSelector) -> Any:
        return self.client.delete(name, body)

    @_route("POST", "/collections/{name}/points/scroll")
    def scroll(self, name: str, body: models.ScrollRequest) -> Any:
        points, offset = self.client.scroll(
            name,
            scroll_filter=body.filter,
            limit=10 if body.limit is None else body.limit,
            order_by=body.order_by,
            offset=body.offset,
            with_payload=True if body.with_payload is None else body.with_payload,
            with_vectors=body.with_vector or False,
        )
        return models.ScrollResult(points=points, next_page_offset=offset)

    @_route("POST", "/collections/{name}/points/count")
    def count(self, name: str, body: models.CountRequest) -> Any:
        return self.client.count(name, count_filter=body.filter)

    @_route("POST", "/collections/{name}/facet")
    def facet(self, name: str, body: models.FacetRequest) -> Any:
        if body.key not in self._indexes[self._physical(name)]:
            raise Refused(400, f"Bad request: Index required but not found for \"{body.key}\" of one of the "
                               "following types: [keyword, integer, uuid, bool].")  # fmt: skip
        return self.client.facet(name, body.key, facet_filter=body.filter, limit=body.limit or 10)

    @_route("POST", "/collections/{name}/points/query")
    def query(self, name: str, body: models.QueryRequest) -> Any:
        return self.client.query_points(name, offset=body.offset, **_query_options(body))

    @_route("POST", "/collections/{name}/points/query/batch")
    def query_batch(self, name: str, body: models.QueryRequestBatch) -> Any:
        return [self.query(name, one) for one in body.searches]

    @_route("POST", "/collections/{name}/points/query/groups")
    def query_groups(self, name: str, body: models.QueryGroupsRequest) -> Any:
        return self.client.query_points_groups(
            name, body.group_by, group_size=body.group_size or 3, with_lookup=body.with_lookup,
            **_query_options(body),
        )  # fmt: skip

    @_route("PUT", "/collections/{name}/points/vectors")
    def update_vectors(self, name: str, body: models.UpdateVectors) -> Any:
        return self.client.update_vectors(name, body.points, update_filter=body.update_filter)

    @_route("POST", "/collections/{name}/points/vectors/delete")
    def delete_vectors(self, name: str, body: models.DeleteVectors) -> Any:
        return self.client.delete_vectors(name, body.vector, _selected(body))

    @_route("POST", "/collections/{name}/points/payload")
    def set_payload(self, name: str, body: models.SetPayload) -> Any:
        return self.client.set_payload(name, body.payload, _selected(body), body.key)

    @_route("PUT", "/collections/{name}/points/payload")
    def overwrite_payload(self, name: str, body: models.SetPayload) -> Any:
        return self.client.overwrite_payload(name, body.payload, _selected(body))

    @_route("POST", "/collections/{name}/points/payload/delete")
    def delete_payload(self, name: str, body: models.DeletePayload) -> Any:
        return self.client.delete_payload(name, body.keys, _selected(body))


def _query_options(body: models.QueryRequest | models.QueryGroupsRequest) -> dict[str, Any]:
    """Returns what the two kinds of query share, with a server's defaults."""
    return {
        "query": body.query,
        "using": body.using,
        "prefetch": body.prefetch,
        "query_filter": body.filter,
        "search_params": body.params,
        "limit": 10 if body.limit is None else body.limit,
        "score_threshold": body.score_threshold,
        "with_payload": body.with_payload or False,
        "with_vectors": body.with_vector or False,
        "lookup_from": body.lookup_from,
    }


def _selected(body: Any) -> models.PointsSelector:
    if body.points is not None:
        return models.PointIdsList(points=body.points)
    return models.FilterSelector(filter=body.filter)


def _parse(wanted: Any, body: bytes) -> Any:
    try:
        return TypeAdapter(wanted).validate_json(body)
    except ValidationError as error:
        raise Refused(400, f"Format error in JSON body: {error}") from error


def _envelope(result: Any, status: Any, started: float) -> bytes:
    found = {"result": result, "status": status, "time": time.perf_counter() - started}
    return to_json(found, exclude_none=True, fallback=lambda number: number.item())
