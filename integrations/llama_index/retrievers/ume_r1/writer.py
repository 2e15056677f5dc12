"""UmeR1IndexWriter: the last transformation of a pipeline, which fills an index of ours."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.schema import MetadataMode, TransformComponent
from llama_index.core.utils import get_tqdm_iterable

from llama_index.embeddings.ume_r1 import EMBED_KEY, UmeR1Embedding, node_input
from llama_index.embeddings.ume_r1.failed import failed_nodes, failures
from llama_index.embeddings.ume_r1.given import embed_model_of
from llama_index.retrievers.ume_r1.keys import content_key, id_key, is_random, is_read, source_of
from ume_r1_rag.cache.content import content_digest
from ume_r1_rag.describe import describe
from ume_r1_rag.encoder import digest
from ume_r1_rag.errors import ConfigError, EncodeErrors, InputError
from ume_r1_rag.index.payload import jsonable
from ume_r1_rag.retriever.canary import recheck
from ume_r1_rag.types import Document, Embedding, Encoder, ItemKind, Mode, MultimodalInput, mode_of, spaces_of

if TYPE_CHECKING:
    from llama_index.core.schema import BaseNode

    from ume_r1_rag.index import QdrantIndex

_OURS = frozenset(
    {"key", "kind", "uri", "title", "page", "span_s", "document", "content_hash", EMBED_KEY, "gen_issue"}
)
_NOTHING: dict[str, Any] = {"ume_metadata": {}, "ume_text": "", "ume_title": ""}
_SHOWN = list(_NOTHING)
"""What a user may change of a node that our reader made, by the payload's names."""
_KINDS = ("page", "image", "clip", "text")


class UmeR1IndexWriter(TransformComponent):
    """Encodes nodes in all wanted spaces and writes them into an index, both vectors side by side.

    A node that is stored already, unchanged, by the same encoder, costs a look-up, and no encoding; so does
    the same chunk under the new random id that a splitter gave it (``key_by``).
    Nodes pass through with their disc vector (gen where there is no disc) as ``embedding``; those that were
    not encoded now, without.

    Example:
        >>> writer = UmeR1IndexWriter(index, UmeR1Embedding("nano"))
        >>> IngestionPipeline(transformations=[writer]).run(nodes=UmeR1Reader().load_nodes("papers"))
    """

    mode: Mode | None = Field(
        default=None,
        description=(
            'Vectors to write: "disc", "gen" or "both"; None for all that the encoder has, which reasons '
            "about every node."
        ),
    )
    key_by: Literal["auto", "id"] = Field(
        default="auto",
        description=(
            "By what a node is known. auto: by its id, but where that is random (a UUID of version 4, as "
            "LlamaIndex's splitters draw anew in each run) by its source, place and content, so that a run "
            "that is repeated adds nothing twice. id: always by its id, for random ones that are kept."
        ),
    )
    batch_size: int = Field(default=64, gt=0, description="Nodes that are encoded and written at once.")

    _index: QdrantIndex = PrivateAttr()
    _model: UmeR1Embedding | Encoder = PrivateAttr()
    _rechecked: bool = PrivateAttr(default=False)

    def __init__(
        self, index: QdrantIndex, embed_model: UmeR1Embedding | Encoder | str, **options: Any
    ) -> None:
        """Joins them.

        Args:
            index: where to; written by this encoder or not yet at all.
            embed_model: what encodes: our embedding, whose own mode has no part in this, an encoder, or a
                model's name.
            **options: the fields.

        Raises:
            ConfigError: ``index`` is no open index, or ``embed_model`` is another maker's.
        """
        from ume_r1_rag.index import QdrantIndex

        if not isinstance(index, QdrantIndex):
            raise ConfigError(
                f"index={describe(index)} is no open index: open it first, as in QdrantIndex("
                '"my-index", fingerprint=embedding.encoder.fingerprint)'
            )
        super().__init__(**options)
        self._index, self._model = index, embed_model_of(embed_model)

    @classmethod
    def class_name(cls) -> str:
        """The name by which it is told."""
        return "UmeR1IndexWriter"

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """Returns the fields and a value that is never the same twice: a cached run would write nothing."""
        return {**super().to_dict(**kwargs), "once": uuid.uuid4().hex}

    def __getstate__(self) -> dict[str, Any]:
        """Refuses to be pickled.

        Raises:
            ConfigError: an open index does not travel to another process.
        """
        raise ConfigError(
            "an index cannot be written from several processes: run the pipeline without num_workers="
        )

    def __call__(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        """Writes nodes and returns them.

        Raises:
            InputError: nodes cannot be encoded, which are named; all others are written.
            IndexMismatch: the index was written by another encoder, or by one that computed otherwise.
        """
        encoder, mode = self._checked()
        show = bool(kwargs.get("show_progress"))
        failed: list[InputError] = []
        seen: Counter[str] = Counter()
        for batch in get_tqdm_iterable(self._batches(nodes), show, "Indexing nodes"):
            todo = self._todo(batch, encoder, mode, failed, seen)
            if not todo:
                continue
            found: Sequence[Embedding | None]
            try:
                found = encoder.encode_document([entry.input for entry in todo], mode)
            except EncodeErrors as error:
                found = error.results
                failed += failures([entry.node for entry in todo], error)
            self._write(todo, found)
        if failed:
            raise failed_nodes(failed, len(nodes), "written")
        return nodes

    async def acall(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        """:meth:`__call__` without blocking the event loop; a batch is written while the next is encoded."""
        encoder, mode = await asyncio.to_thread(self._checked)
        writing: asyncio.Task[None] | None = None
        failed: list[InputError] = []
        seen: Counter[str] = Counter()
        try:
            for batch in self._batches(nodes):
                todo = await asyncio.to_thread(self._todo, batch, encoder, mode, failed, seen)
                if not todo:
                    continue
                found: Sequence[Embedding | None]
                try:
                    found = await encoder.aencode_document([entry.input for entry in todo], mode)
                except EncodeErrors as error:
                    found = error.results
                    failed += failures([entry.node for entry in todo], error)
                if writing is not None:
                    await writing
                writing = asyncio.create_task(asyncio.to_thread(self._write, todo, found))
        finally:
            if writing is not None:
                await writing
        if failed:
            raise failed_nodes(failed, len(nodes), "written")
        return nodes

    def _checked(self) -> tuple[Encoder, Mode]:
        encoder = self._model.encoder if isinstance(self._model, UmeR1Embedding) else self._model
        self._index.check(encoder.fingerprint, ignore=())
        if not self._rechecked:
            recheck(encoder, self._index, keep=True)
            self._rechecked = True
        return encoder, self.mode or mode_of(encoder.spaces)

    def _batches(self, nodes: Sequence[BaseNode]) -> list[list[BaseNode]]:
        every = list(nodes)
        return [every[start : start + self.batch_size] for start in range(0, len(every), self.batch_size)]

    def _todo(
        self,
        nodes: Sequence[BaseNode],
        encoder: Encoder,
        mode: Mode,
        failed: list[InputError],
        seen: Counter[str],
    ) -> list[_Entry]:
        """Returns the nodes that are not stored as they would be written now, ready to be encoded.

        What cannot be encoded is added to ``failed``.
        """
        entries: list[_Entry] = []
        for node in nodes:
            with _kept(failed):
                entries.append(_Entry(node, encoder, None if self.key_by == "id" else seen))
        known = self._index.stored(entry.key for entry in entries if entry.content)
        read = [known[entry.key].id for entry in entries if entry.is_read and entry.key in known]
        records = self._index.records(read, _SHOWN) if read else {}
        shown = {
            id: {name: (record.payload or {}).get(name, empty) for name, empty in _NOTHING.items()}
            for id, record in records.items()
        }
        mark, wanted = digest(encoder.fingerprint), frozenset(spaces_of(mode))

        def is_stored(entry: _Entry) -> bool:
            one = known.get(entry.key)
            if one is None or not entry.content or one.content_hash != entry.content:
                return False
            made = {"disc": one.fingerprint, "gen": one.gen_fingerprint}
            return (
                wanted <= one.spaces
                and all(made[space] == mark for space in wanted)
                # The digest of a file knows nothing of what was added to its node since.
                and (not entry.is_read or shown.get(one.id) == _shown(entry.node))
            )

        todo: list[_Entry] = []
        for entry in entries:
            if not is_stored(entry):
                with _kept(failed):
                    _ = entry.input  # a clip is decoded here, where that does not block a loop
                    todo.append(entry)
        return todo

    def _write(self, todo: Sequence[_Entry], found: Sequence[Embedding | None]) -> None:
        done = [(entry, one) for entry, one in zip(todo, found, strict=True) if one is not None]
        self._index.upsert(
            [node_document(entry.node, entry.input, entry.content, entry.key) for entry, _ in done],
            [embedding for _, embedding in done],
        )
        for entry, embedding in done:
            vector = embedding.disc if embedding.disc is not None else embedding.gen
            entry.node.embedding = None if vector is None else vector.tolist()


class _Entry:
    """A node beside what tells whether it is stored already.

    Attributes:
        node: the node.
        key: its document's key.
        is_read: whether our reader made it, whose word on its key and its file is taken.
        content: digest of all that its point depends on; empty if only the encoder can know.
    """

    def __init__(self, node: BaseNode, encoder: Encoder, seen: Counter[str] | None) -> None:
        self.node, self._encoder, self.is_read = node, encoder, is_read(node)
        # Our reader's nodes say it: their files need not be opened.
        said = str(node.metadata.get("content_hash") or "") if self.is_read else ""
        digest = None if said else content_digest(self.input)
        self.content = said or ("" if digest is None else f"{digest};node={self._told()}")
        self.key = id_key(node)
        if seen is not None and not self.is_read and is_random(node.node_id):
            self.key = content_key(node, self.input, digest, seen)

    @cached_property
    def input(self) -> MultimodalInput:
        """What the encoder sees of it."""
        return node_input(self.node, self._encoder.max_video_frames, self._encoder.max_image_pixels)

    def _told(self) -> str:
        told = json.dumps([_told(self.node), self.node.get_content()], sort_keys=True, default=str)
        return hashlib.sha256(told.encode()).hexdigest()[:16]


def node_document(node: BaseNode, item: MultimodalInput, content: str = "", key: str = "") -> Document:
    """Returns a node as a document of an index; the retriever gives its node id back.

    Args:
        node: the node.
        item: what was encoded of it.
        content: digest of its content.
        key: by what it is known; by default its id, of one of our reader's the key, and so the id, that
            ``ume-r1 index`` would give it.
    """
    metadata: Mapping[str, Any] = node.metadata
    key = key or id_key(node)
    kind = metadata.get("kind")
    if kind not in _KINDS:
        kind = "clip" if item.video is not None else "image" if item.images else "text"
    own = _own(node)
    if not is_read(node):
        own["node_id"] = node.node_id
    span = metadata.get("span_s")
    uri = str(metadata.get("uri") or next(_files(item), ""))
    title = str(metadata.get("title") or metadata.get("file_name") or Path(uri).name)
    return Document(
        key=key,
        kind=_item_kind(kind),
        input=item,
        uri=uri,
        title=title,
        text=_text(node, title),
        page=metadata.get("page") if isinstance(metadata.get("page"), int) else None,
        span_s=(float(span[0]), float(span[1]))
        if isinstance(span, list | tuple) and len(span) == 2
        else None,
        thumbnail=_thumbnail(item),
        metadata=own,
        document=str(metadata.get("document") or source_of(node)),
        content_hash=content,
    )


def _item_kind(kind: Any) -> ItemKind:
    found: ItemKind = kind
    return found


def _files(item: MultimodalInput) -> Iterator[str]:
    for source in (*item.images, item.video):
        if isinstance(source, Path):
            yield str(source)
        elif isinstance(source, str) and source.startswith(("http://", "https://")):
            yield source


def _thumbnail(item: MultimodalInput) -> bytes | None:
    """Returns a preview of a clip whose frames are here already; pictures are on disk."""
    frames = item.video
    if not isinstance(frames, tuple):
        return None
    from ume_r1_rag.describe import is_pil_image
    from ume_r1_rag.media import thumbnail

    middle: Any = frames[len(frames) // 2]
    return thumbnail(middle) if is_pil_image(middle) else None


def _own(node: BaseNode) -> dict[str, Any]:
    """Returns the metadata that are not the index's own fields."""
    return {name: value for name, value in node.metadata.items() if name not in _OURS}


def _text(node: BaseNode, title: str) -> str:
    text = node.get_content(metadata_mode=MetadataMode.NONE)
    return "" if text == title else text  # our reader gives a title where there is no text


def _shown(node: BaseNode) -> dict[str, Any]:
    """Returns what is stored of a node of our reader that its file does not say, as it is stored."""
    title = str(node.metadata.get("title") or "")
    found: dict[str, Any] = jsonable(
        {"ume_metadata": _own(node), "ume_text": _text(node, title), "ume_title": title}
    )
    return found


def _told(node: BaseNode) -> dict[str, Any]:
    """Returns the metadata of which the point depends; ``gen_issue`` comes of encoding."""
    return {name: value for name, value in node.metadata.items() if name != "gen_issue"}


@contextmanager
def _kept(failed: list[InputError]) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        failed.append(error)
