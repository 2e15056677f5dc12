"""The gRPC interface of ``qdrant_app.py``, for what the index calls; it shows as much of a server: nothing.

Messages are read and written with qdrant-client's own conversions, in the directions that the client does not
use itself.
"""

# ruff: noqa: N802 - methods are named as the interface names them

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import grpc
from qdrant_app import QdrantApp, Refused
from qdrant_client import grpc as q
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc
from qdrant_client.http import models

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.ALREADY_EXISTS,
    500: grpc.StatusCode.INTERNAL,
}

_KINDS = ["keyword", "integer", "float", "geo", "text", "bool", "datetime", "uuid"]
"""In the order of ``FieldType``."""


class GrpcApp:
    """A gRPC port in front of an app.

    Attributes:
        port: where it listens.
        calls: the names of the calls, in order.
    """

    def __init__(self, app: QdrantApp) -> None:
        self.app = app
        self.calls: list[str] = []
        self._pool = ThreadPoolExecutor(4)
        # A body of any size, as a server takes it; what the client may send is bounded elsewhere.
        self._server = grpc.server(self._pool, options=[("grpc.max_receive_message_length", -1)])
        for service, name in ((_Points, "Points"), (_Collections, "Collections"), (_Root, "Qdrant")):
            getattr(q, f"add_{name}Servicer_to_server")(service(self), self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.stop(None).wait()
        self._pool.shutdown()

    def do(self, context: grpc.ServicerContext, call: str, method: str, **arguments: Any) -> Any:
        """Returns what the app does, or ends the call with its error."""
        self.calls.append(call)
        try:
            self.app.admit(dict(context.invocation_metadata()).get("api-key"))
            return self.app.call(method, **arguments)
        except Refused as error:
            return context.abort(_CODES[error.status], str(error))


class _Service:
    def __init__(self, front: GrpcApp) -> None:
        self.front = front


class _Root(_Service, q.QdrantServicer):
    def HealthCheck(self, request: Any, context: Any) -> Any:
        # Of everyone: no key is asked for.
        return RestToGrpc.convert_health_check_reply(self.front.app.version_info())


class _Collections(_Service, q.CollectionsServicer):
    def List(self, request: Any, context: Any) -> Any:
        found = self.front.do(context, "List", "collections").collections
        return q.ListCollectionsResponse(
            collections=[RestToGrpc.convert_collection_description(one) for one in found]
        )

    def CollectionExists(self, request: Any, context: Any) -> Any:
        found = self.front.do(context, "CollectionExists", "exists", name=request.collection_name)
        return q.CollectionExistsResponse(result=q.CollectionExists(**found))

    def Get(self, request: Any, context: Any) -> Any:
        found = self.front.do(context, "Get", "collection", name=request.collection_name)
        return q.GetCollectionInfoResponse(result=RestToGrpc.convert_collection_info(found))

    def Create(self, request: Any, context: Any) -> Any:
        given = _given(request)
        body = models.CreateCollection(
            vectors=given("vectors_config", GrpcToRest.convert_vectors_config),
            sparse_vectors=given("sparse_vectors_config", GrpcToRest.convert_sparse_vector_config),
            shard_number=given("shard_number"),
            replication_factor=given("replication_factor"),
            metadata=GrpcToRest.convert_payload(request.metadata),
        )
        done = self.front.do(context, "Create", "create", name=request.collection_name, body=body)
        return q.CollectionOperationResponse(result=done)

    def Update(self, request: Any, context: Any) -> Any:
        body = models.UpdateCollection(
            optimizers_config=_given(request)("optimizers_config", GrpcToRest.convert_optimizers_config_diff),
            metadata=GrpcToRest.convert_payload(request.metadata) or None,
        )
        done = self.front.do(context, "Update", "update", name=request.collection_name, body=body)
        return q.CollectionOperationResponse(result=done)

    def Delete(self, request: Any, context: Any) -> Any:
        done = self.front.do(context, "Delete", "delete_collection", name=request.collection_name)
        return q.CollectionOperationResponse(result=done)

    def UpdateAliases(self, request: Any, context: Any) -> Any:
        actions = [GrpcToRest.convert_alias_operations(one) for one in request.actions]
        body = models.ChangeAliasesOperation(actions=actions)
        return q.CollectionOperationResponse(
            result=self.front.do(context, "UpdateAliases", "change_aliases", body=body)
        )

    def ListAliases(self, request: Any, context: Any) -> Any:
        found = self.front.do(context, "ListAliases", "aliases").aliases
        return q.ListAliasesResponse(aliases=[RestToGrpc.convert_alias_description(one) for one in found])


class _Points(_Service, q.PointsServicer):
    def _written(self, context: Any, call: str, method: str, request: Any, **arguments: Any) -> Any:
        done = self.front.do(context, call, method, name=request.collection_name, **arguments)
        return q.PointsOperationResponse(result=RestToGrpc.convert_update_result(done))

    def CreateFieldIndex(self, request: Any, context: Any) -> Any:
        given = _given(request)
        body = models.CreateFieldIndex(
            field_name=request.field_name,
            field_schema=given("field_index_params", GrpcToRest.convert_payload_schema_params)
            or models.PayloadSchemaType(_KINDS[request.field_type]),
        )
        return self._written(context, "CreateFieldIndex", "create_index", request, body=body)

    def Upsert(self, request: Any, context: Any) -> Any:
        given = _given(request)
        body = models.PointsList(
            points=[GrpcToRest.convert_point_struct(one) for one in request.points],
            update_filter=given("update_filter", GrpcToRest.convert_filter),
            update_mode=given("update_mode", GrpcToRest.convert_update_mode),
        )
        return self._written(context, "Upsert", "upsert", request, body=body)

    def Delete(self, request: Any, context: Any) -> Any:
        body = GrpcToRest.convert_points_selector(request.points)
        return self._written(context, "Delete", "delete", request, body=body)

    def Get(self, request: Any, context: Any) -> Any:
        given = _given(request)
        body = models.PointRequest(
            ids=[GrpcToRest.convert_point_id(one) for one in request.ids],
            with_payload=given("with_payload", GrpcToRest.convert_with_payload_interface),
            with_vector=given("with_vectors", GrpcToRest.convert_with_vectors_selector),
        )
        found = self.front.do(context, "Get", "retrieve", name=request.collection_name, body=body)
        return q.GetResponse(result=[_record(one) for one in found])

    def Scroll(self, request: Any, context: Any) -> Any:
        given = _given(request)
        body = models.ScrollRequest(
            filter=given("filter", GrpcToRest.convert_filter),
            limit=given("limit"),
            offset=given("offset", GrpcToRest.convert_point_id),
            with_payload=given("with_payload", GrpcToRest.convert_with_payload_interface),
            with_vector=given("with_vectors", GrpcToRest.convert_with_vectors_selector),
        )
        found = self.front.do(context, "Scroll", "scroll", name=request.collection_name, body=body)
        page = found.next_page_offset
        return q.ScrollResponse(
            result=[_record(one) for one in found.points],
            next_page_offset=None if page is None else RestToGrpc.convert_extended_point_id(page),
        )

    def Count(self, request: Any, context: Any) -> Any:
        body = models.CountRequest(filter=_given(request)("filter", GrpcToRest.convert_filter))
        found = self.front.do(context, "Count", "count", name=request.collection_name, body=body)
        return q.CountResponse(result=RestToGrpc.convert_count_result(found))

    def Facet(self, request: Any, context: Any) -> Any:
        given = _given(request)
        body = models.FacetRequest(
            key=request.key, limit=given("limit"), filter=given("filter", GrpcToRest.convert_filter)
        )
        found = self.front.do(context, "Facet", "facet", name=request.collection_name, body=body)
        return q.FacetResponse(hits=[RestToGrpc.convert_facet_value_hit(one) for one in found.hits])

    def Query(self, request: Any, context: Any) -> Any:
        body = GrpcToRest.convert_query_points(request)
        found = self.front.do(context, "Query", "query", name=request.collection_name, body=body)
        return q.QueryResponse(result=_scored(found.points))

    def QueryBatch(self, request: Any, context: Any) -> Any:
        searches = [GrpcToRest.convert_query_points(one) for one in request.query_points]
        body = models.QueryRequestBatch(searches=searches)
        found = self.front.do(context, "QueryBatch", "query_batch", name=request.collection_name, body=body)
        return q.QueryBatchResponse(result=[q.BatchResult(result=_scored(one.points)) for one in found])

    def QueryGroups(self, request: Any, context: Any) -> Any:
        given = _given(request)
        body = models.QueryGroupsRequest(
            query=given("query", GrpcToRest.convert_query),
            using=given("using"),
            filter=given("filter", GrpcToRest.convert_filter),
            params=given("params", GrpcToRest.convert_search_params),
            with_payload=given("with_payload", GrpcToRest.convert_with_payload_interface),
            limit=given("limit"),
            group_by=request.group_by,
            group_size=given("group_size"),
        )
        found = self.front.do(context, "QueryGroups", "query_groups", name=request.collection_name, body=body)
        return q.QueryGroupsResponse(result=RestToGrpc.convert_groups_result(found))


def _given(message: Any) -> Callable[..., Any]:
    """Returns what reads a message's field, or None where it is not set."""

    def read(name: str, convert: Callable[[Any], Any] = lambda value: value) -> Any:
        return convert(getattr(message, name)) if message.HasField(name) else None

    return read


def _record(record: models.Record) -> Any:
    return RestToGrpc.convert_record(record.model_copy(update={"payload": record.payload or {}}))


def _scored(points: list[models.ScoredPoint]) -> list[Any]:
    return [RestToGrpc.convert_scored_point(point) for point in points]
