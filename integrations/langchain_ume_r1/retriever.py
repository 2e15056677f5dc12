"""``UmeR1Retriever``: LangChain's retriever over pages, pictures, clips and texts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict, Field, PrivateAttr, SecretStr, model_validator

from langchain_ume_r1.documents import to_document
from langchain_ume_r1.embeddings import UmeR1Embeddings
from ume_r1_rag.describe import describe
from ume_r1_rag.encoder.shared import Lease
from ume_r1_rag.errors import ConfigError, InputError
from ume_r1_rag.frameworks import EncoderOptions, by_own_name, options_for, told
from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.inputs import to_input
from ume_r1_rag.retriever import Retriever, SearchMode, SearchResult
from ume_r1_rag.retriever.fusion import Fusion
from ume_r1_rag.retriever.options import GroupBy
from ume_r1_rag.types import Encoder, MultimodalInput, SearchSpace, Think
from ume_r1_rag.unicode import unicode_text

if TYPE_CHECKING:
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
    from langchain_core.documents import Document

OPTIONS: Final = (
    *("mode", "spaces", "fusion", "weights", "candidates", "group_by", "group_size"),
    *("filter", "kind", "think"),
)
"""Fields that are passed on to the search; any of them may be given with a call, too."""
VISUALS: Final = ("image", "video")


@dataclass(frozen=True, slots=True)
class _Opened:
    """What a retriever has opened.

    Attributes:
        asked: the fields that decided it.
        retriever: what searches.
        lease: its model, where it is not the caller's; held for as long as a search runs.
        own: closes what is not the caller's.
    """

    asked: tuple[Any, ...]
    retriever: Retriever
    lease: Lease | None
    own: ExitStack


class _Now:
    """What is open at the moment; no copy has it.

    Attributes:
        opened: what is open, if anything is.
        lock: held by who changes that.
    """

    def __init__(self) -> None:
        """Has nothing open."""
        self.opened: _Opened | None = None
        self.lock = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> _Now:
        """Returns one with nothing open."""
        return _Now()


class UmeR1Retriever(BaseRetriever):
    """Retrieves documents by disc, gen, words or all of them fused, for a text, a picture, a video or a mix.

    Every field of a search can be given with a call: ``invoke("…", k=3, image="photo.png")``. What a string
    says is always text; pictures and videos come as ``image=`` and ``video=``, with ``""`` for a query
    without words. The documents are described in ``langchain_ume_r1.documents.to_document``.

    Example:
        >>> retriever = UmeR1Retriever(path="my-index", k=4)
        >>> retriever.invoke("a red cross at north")[0].metadata["uri"]
        'shapes-01.png'

    Attributes:
        index: an open index; or say with ``path`` or ``url`` which is to be opened.
        path: a folder of an index.
        url: a Qdrant server; with neither, the one in ``QDRANT_URL``.
        qdrant_api_key: of that server; with the server of ``QDRANT_URL``, ``QDRANT_API_KEY``.
        collection: the collection's name.
        tenant: whose documents are searched; of no tenant by default. With ``index`` it may only narrow one
            that belongs to no tenant.
        embeddings: what encodes queries, or a model's name; by default the model that the collection was
            written with.
            ``embedding=``, as stores call it, is taken as well.
        k: at most so many documents; grouped, so many files.
        mode: ``"fused"`` ranks by all that query and index have, and reasons about the query where there is
            gen to compare with; ``"disc"``, ``"gen"`` or ``"text"`` (BM25) by that alone.
        spaces: what ``"fused"`` fuses.
        weights: of the fused spaces.
        fusion: ``"convex"``, ``"rrf"`` or ``"dbsf"``.
        candidates: how many of each space are looked at where several are.
        group_by: ``"document"``: ``k`` files instead of ``k`` documents.
        group_size: at most so many documents of each file.
        filter: ``{field: value | [values]}`` or Qdrant's own; see ``ume_r1_rag.index.to_filter``.
        kind: instruction preset for the query, e.g. ``"page"``.
        think: think budget of the query.
        image: picture, or list of pictures, that every query comes with.
        video: video that every query comes with.
    """

    model_config = ConfigDict(
        arbitrary_types_allowed=True, extra="forbid", protected_namespaces=(), hide_input_in_errors=True
    )

    index: QdrantIndex | None = Field(None, exclude=True, repr=False)
    path: str | None = None
    # It may hold a password.
    url: str | None = Field(None, repr=False)
    qdrant_api_key: SecretStr | None = None
    collection: str = "ume_r1"
    tenant: str | None = None
    embeddings: UmeR1Embeddings | None = None
    k: int = Field(4, ge=1)
    mode: SearchMode = "fused"
    spaces: tuple[SearchSpace, ...] | None = None
    weights: dict[str, float] | None = None
    fusion: Fusion = "convex"
    candidates: int = Field(100, ge=1)
    group_by: GroupBy | None = None
    group_size: int = Field(1, ge=1)
    filter: Any = None
    kind: str | None = None
    think: Think | None = None
    image: Any = Field(None, repr=False)
    video: Any = Field(None, repr=False)

    _now: _Now = PrivateAttr(default_factory=_Now)

    def __init__(self, path: str | Path | None = None, **fields: Any) -> None:
        """Notes where the index is and how to search; opens nothing.

        Args:
            path: see the class.
            **fields: the others.

        Raises:
            pydantic.ValidationError: a field is unknown or cannot work; a ``ValueError``.
        """
        super().__init__(**fields if path is None else {**fields, "path": path})

    @model_validator(mode="before")
    @classmethod
    def _as_known(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        named = by_own_name(fields, "embeddings", "embedding")
        index = named.get("index")
        if isinstance(index, str | Path):
            raise ConfigError(f"index={describe(index)} is no open index: say path={describe(index)}")
        if named.get("path") is not None:
            named["path"] = str(named["path"])
        if isinstance(named.get("embeddings"), str | Path):
            named["embeddings"] = UmeR1Embeddings(named["embeddings"])
        return named

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_place(self.index, self.path, self.url, self.tenant)
        return self

    def close(self) -> None:
        """Closes what this retriever opened itself, an index or a model; the next call opens it anew."""
        with self._now.lock:
            opened, self._now.opened = self._now.opened, None
        if opened is not None:
            opened.own.close()

    def __copy__(self) -> Self:
        """Returns a copy that opens its own: its fields may be changed, and it is closed by itself."""
        copy = super().__copy__()
        copy._now = _Now()  # noqa: SLF001 -- of this very class
        return copy

    def search(self, query: str = "", **options: Any) -> SearchResult:
        """Returns the answer itself: hits with all that is stored, the query's reasoning, what it cost.

        Args:
            query: the words.
            **options: any field of a search.

        Raises:
            ConfigError: an option is unknown or cannot work.
            InputError: the query holds nothing, or cannot be read.
        """
        asked, k, rest = self._ask(query, options)
        opened = self._ready()
        return told(opened.retriever.search(asked, k, **rest))

    async def asearch(self, query: str = "", **options: Any) -> SearchResult:
        """:meth:`search` without blocking the event loop."""
        # Opening an index, loading a model and looking at files are work.
        asked, k, rest = await asyncio.to_thread(self._ask, query, options)
        opened = await asyncio.to_thread(self._ready)
        return told(await opened.retriever.asearch(asked, k, **rest))

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        return [to_document(hit) for hit in self.search(query, **options).hits]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        return [to_document(hit) for hit in (await self.asearch(query, **options)).hits]

    def _ask(self, query: str, options: Mapping[str, Any]) -> tuple[MultimodalInput, int, dict[str, Any]]:
        """Returns what to search for, how many, and how."""
        unknown = sorted(options.keys() - {*OPTIONS, *VISUALS, "k"})
        if unknown:
            raise ConfigError(
                f"{', '.join(unknown)}: a call knows no such option; it takes k, {', '.join(VISUALS)}, "
                f"{', '.join(OPTIONS)}"
            )
        given = {name: options.get(name, getattr(self, name)) for name in (*OPTIONS, *VISUALS, "k")}
        asked = _query(query, given.pop("image"), given.pop("video"))
        k = given.pop("k")
        return asked, k, {name: value for name, value in given.items() if value is not None}

    def _ready(self) -> _Opened:
        """Returns what is searched with: opened when it is first needed, and when another is asked for."""
        with self._now.lock:
            asked = (
                *(self.index, self.path, self.url, self.qdrant_api_key, self.collection, self.tenant),
                *(self.embeddings, self.mode == "text" and self.embeddings is None),
            )
            if self._now.opened is None or self._now.opened.asked != asked:
                # The one before is let go of, not closed: another thread may be searching in it.
                self._now.opened = None
                self._now.opened = self._open(asked)
            opened = self._now.opened
            if self.embeddings is not None and self.embeddings.encoder is not opened.retriever.encoder:
                # They were closed, and have loaded it anew.
                again = Retriever(self.embeddings.encoder, opened.retriever.index)
                opened = self._now.opened = replace(opened, retriever=again)
            return opened

    def _open(self, asked: tuple[Any, ...]) -> _Opened:
        index, path, url, key, collection, tenant, embeddings, words_alone = asked
        # Assignments and copies are not validated, and an index of a tenant must stay that tenant's.
        _check_place(index, path, url, tenant)
        with ExitStack() as undo:
            if index is None:
                secret = None if key is None else key.get_secret_value()
                index = QdrantIndex(path, url=url, api_key=secret, collection=collection, tenant=tenant)
                undo.callback(index.close)
            elif tenant is not None:
                index = index.for_tenant(tenant)
            encoder: Encoder | None = None
            lease: Lease | None = None
            if embeddings is not None:
                encoder = embeddings.encoder
            elif not words_alone:
                lease = undo.enter_context(options_for(index.fingerprint, EncoderOptions()).lease())
                encoder = lease.encoder
            return _Opened(asked, Retriever(encoder, index), lease, undo.pop_all())


def _check_place(index: QdrantIndex | None, path: str | None, url: str | None, tenant: str | None) -> None:
    named = [name for name, given in (("index", index), ("path", path), ("url", url)) if given is not None]
    if len(named) > 1:
        raise ConfigError(f"{' and '.join(named)} are each a place: give one of them")
    own = None if index is None else index.tenant
    if own is not None and tenant not in (None, own):
        raise ConfigError("the index belongs to another tenant than tenant=: leave it out")


def _query(text: str, image: Any, video: Any) -> MultimodalInput:
    """Returns a query: words that are words whatever they look like, with pictures and a video."""
    if not isinstance(text, str):
        raise InputError(
            f'the query {describe(text)} is no text: ask with files as invoke("", image=...) or video=...'
        )
    fields: dict[str, Any] = {}
    if text.strip():
        fields["text"] = unicode_text(text)
    if image is not None:
        fields["image"] = image
    if video is not None:
        fields["video"] = video
    if not fields:
        raise InputError("the query holds nothing: give words, image= or video=")
    return to_input(fields)
