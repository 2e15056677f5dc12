"""Embeds: texts, pictures, clips and nodes as batches of inputs, told to LlamaIndex's handlers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.embeddings import MultiModalEmbedding
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.utils import get_tqdm_iterable

from llama_index.embeddings.ume_r1.failed import failed_nodes, failures
from llama_index.embeddings.ume_r1.node_input import node_input
from llama_index.embeddings.ume_r1.observed import aobserved, observed
from ume_r1_rag.describe import describe, shorten
from ume_r1_rag.errors import EncodeErrors, InputError
from ume_r1_rag.frameworks import CONCURRENCY
from ume_r1_rag.inputs import to_input
from ume_r1_rag.template import INSTRUCTIONS
from ume_r1_rag.types import Embedding as UmeEmbedding
from ume_r1_rag.types import MultimodalInput

if TYPE_CHECKING:
    from llama_index.core.base.embeddings.base import Embedding
    from llama_index.core.schema import BaseNode

    from ume_r1_rag.frameworks import LazyEncoder, OneVector
    from ume_r1_rag.types import Encoder

dispatcher = get_dispatcher(__name__)

Role = Literal["query", "document"]


class Embeds(MultiModalEmbedding):
    """What an embedding model does; how one is made is its subclass's business."""

    _lazy: LazyEncoder = PrivateAttr()
    _maker: OneVector = PrivateAttr()

    # Texts: the public methods are LlamaIndex's own.

    def _get_query_embedding(self, query: str) -> Embedding:
        return self._vectors("query", [_text(query)])[0]

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return (await self._avectors("query", [_text(query)]))[0]

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._get_text_embeddings([text])[0]

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return (await self._aget_text_embeddings([text]))[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return self._vectors("document", [_text(text) for text in texts])

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return await self._avectors("document", [_text(text) for text in texts])

    # Pictures: as documents and as queries alike, whose likes are found best so.

    def _get_image_embedding(self, img_file_path: Any) -> Embedding:
        return self._get_image_embeddings([img_file_path])[0]

    async def _aget_image_embedding(self, img_file_path: Any) -> Embedding:
        return (await self._aget_image_embeddings([img_file_path]))[0]

    def _get_image_embeddings(self, img_file_paths: list[Any]) -> list[Embedding]:
        return self._vectors("document", [_media(one, "image") for one in img_file_paths])

    async def _aget_image_embeddings(self, img_file_paths: list[Any]) -> list[Embedding]:
        items = await asyncio.to_thread(lambda: [_media(one, "image") for one in img_file_paths])
        return await self._avectors("document", items)

    @dispatcher.span
    def get_image_embedding(self, img_file_path: Any) -> Embedding:
        """Returns the vector of a picture.

        Args:
            img_file_path: a path, a ``BytesIO``, bytes, a PIL image, a data URL, or a URL if fetching is on.

        Raises:
            InputError: it cannot be used.
        """
        return self._batches([img_file_path], "image", show=False)[0]

    @dispatcher.span
    async def aget_image_embedding(self, img_file_path: Any) -> Embedding:
        """:meth:`get_image_embedding` without blocking the event loop."""
        return (await self._abatches([img_file_path], "image", show=False))[0]

    @dispatcher.span
    def get_image_embedding_batch(
        self, img_file_paths: list[Any], show_progress: bool = False
    ) -> list[Embedding]:
        """Returns the vectors of pictures, in order."""
        return self._batches(img_file_paths, "image", show=show_progress)

    @dispatcher.span
    async def aget_image_embedding_batch(
        self, img_file_paths: list[Any], show_progress: bool = False
    ) -> list[Embedding]:
        """:meth:`get_image_embedding_batch` without blocking the event loop."""
        return await self._abatches(img_file_paths, "image", show=show_progress)

    # Clips, by the names that LlamaIndex's Voyage package gave them.

    @dispatcher.span
    def get_video_embedding(self, video_path: Any) -> Embedding:
        """Returns the vector of a clip.

        Args:
            video_path: a path, a ``BytesIO``, bytes, a list of frames, or a URL if fetching is on.

        Raises:
            InputError: it cannot be used.
        """
        return self._batches([video_path], "video", show=False)[0]

    @dispatcher.span
    async def aget_video_embedding(self, video_path: Any) -> Embedding:
        """:meth:`get_video_embedding` without blocking the event loop."""
        return (await self._abatches([video_path], "video", show=False))[0]

    @dispatcher.span
    def get_video_embeddings(self, video_paths: list[Any], show_progress: bool = False) -> list[Embedding]:
        """Returns the vectors of clips, in order."""
        return self._batches(video_paths, "video", show=show_progress)

    @dispatcher.span
    async def aget_video_embeddings(
        self, video_paths: list[Any], show_progress: bool = False
    ) -> list[Embedding]:
        """:meth:`get_video_embeddings` without blocking the event loop."""
        return await self._abatches(video_paths, "video", show=show_progress)

    # Nodes.

    @dispatcher.span
    def __call__(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        """Sets the embedding of every node, whatever it holds; see :func:`node_input`.

        Where gen was mended, the node's metadata say so (``gen_issue``).

        Args:
            nodes: the nodes, which are changed.
            **kwargs: ``show_progress``; what is meant for other transformations is passed over.

        Raises:
            InputError: nodes cannot be embedded, which are named; all others have their embedding.
        """
        show = bool(kwargs.get("show_progress"))
        failed: list[InputError] = []
        for batch in get_tqdm_iterable(self._split(nodes), show, "Embedding nodes"):
            work = _Nodes(batch, self._lazy.get())
            if work.items:
                work.fill(observed(self, work.chunks, partial(self._node_vectors, work)))
            failed += work.failed
        if failed:
            raise failed_nodes(failed, len(nodes), "embedded")
        return nodes

    @dispatcher.span
    async def acall(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        """:meth:`__call__` without blocking the event loop."""
        # One batch more than is encoded at a time: the decoded clips of a whole corpus would fill the memory.
        turns = asyncio.Semaphore((self.num_workers or CONCURRENCY) + 1)

        async def one(batch: Sequence[BaseNode]) -> list[InputError]:
            async with turns:
                encoder = await self._lazy.aget()
                work = await asyncio.to_thread(_Nodes, batch, encoder)
                if work.items:
                    work.fill(await aobserved(self, work.chunks, lambda: self._anode_vectors(work)))
                return work.failed

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(batch)) for batch in self._split(nodes)]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        failed = [error for task in tasks for error in task.result()]
        if failed:
            raise failed_nodes(failed, len(nodes), "embedded")
        return nodes

    def _encoded(self, role: Role, items: Sequence[MultimodalInput]) -> list[UmeEmbedding]:
        try:
            return self._maker.encode(role, items)
        except EncodeErrors as error:
            raise _failed(_chunks(items), error) from error

    async def _aencoded(self, role: Role, items: Sequence[MultimodalInput]) -> list[UmeEmbedding]:
        try:
            return await self._maker.aencode(role, items)
        except EncodeErrors as error:
            raise _failed(_chunks(items), error) from error

    def _vectors(self, role: Role, items: Sequence[MultimodalInput]) -> list[Embedding]:
        return [self._maker.vector(role, one) for one in self._encoded(role, items)]

    async def _avectors(self, role: Role, items: Sequence[MultimodalInput]) -> list[Embedding]:
        return [self._maker.vector(role, one) for one in await self._aencoded(role, items)]

    def _batches(
        self, sources: Sequence[Any], kind: Literal["image", "video"], *, show: bool
    ) -> list[Embedding]:
        parts = self._split(list(sources))
        out: list[Embedding] = []
        for part in get_tqdm_iterable(parts, show, f"Embedding {kind}s"):
            items = [_media(one, kind) for one in part]
            out += observed(self, _chunks(items), partial(self._vectors, "document", items))
        return out

    async def _abatches(
        self, sources: Sequence[Any], kind: Literal["image", "video"], *, show: bool
    ) -> list[Embedding]:
        async def one(part: Sequence[Any]) -> list[Embedding]:
            items = await asyncio.to_thread(lambda: [_media(source, kind) for source in part])
            return await aobserved(self, _chunks(items), lambda: self._avectors("document", items))

        found = await asyncio.gather(*(one(part) for part in self._split(list(sources))))
        return [vector for part in found for vector in part]

    def _split(self, things: Sequence[Any]) -> list[list[Any]]:
        size, every = self.embed_batch_size, list(things)
        return [every[start : start + size] for start in range(0, len(every), size)]

    def _node_vectors(self, work: _Nodes) -> list[Embedding]:
        try:
            work.found = self._maker.encode("document", work.items)
        except EncodeErrors as error:
            work.part(error)
        return [self._maker.vector("document", one) for one in work.found]

    async def _anode_vectors(self, work: _Nodes) -> list[Embedding]:
        try:
            work.found = await self._maker.aencode("document", work.items)
        except EncodeErrors as error:
            work.part(error)
        return [self._maker.vector("document", one) for one in work.found]


class _Nodes:
    """A batch of nodes on its way; those that fail leave it.

    Attributes:
        nodes: the nodes.
        items: what the encoder sees of each.
        chunks: how handlers are told each.
        found: what came out.
        failed: what became of those that left.
    """

    def __init__(self, nodes: Sequence[BaseNode], encoder: Encoder) -> None:
        self.nodes: list[BaseNode] = []
        self.items: list[MultimodalInput] = []
        self.failed: list[InputError] = []
        self.found: list[UmeEmbedding] = []
        for node in nodes:
            try:
                self.items.append(node_input(node, encoder.max_video_frames, encoder.max_image_pixels))
                self.nodes.append(node)
            except InputError as error:
                self.failed.append(error)
        self.chunks = _chunks(self.items)

    def part(self, error: EncodeErrors) -> None:
        """Keeps what was finished when the encoder failed on the rest."""
        self.failed += failures(self.nodes, error)
        whole = [at for at, one in enumerate(error.results) if one is not None]
        self.found = [one for one in error.results if one is not None]
        self.nodes = [self.nodes[at] for at in whole]
        self.chunks[:] = [self.chunks[at] for at in whole]  # in place: handlers are about to be told

    def fill(self, vectors: Sequence[Embedding]) -> None:
        """Gives the nodes their vectors."""
        for node, vector, embedding in zip(self.nodes, vectors, self.found, strict=True):
            node.embedding = vector
            if embedding.gen_valid is False:
                node.metadata["gen_issue"] = embedding.gen_issue


def _text(text: str) -> MultimodalInput:
    # Never by the rule that takes some strings for files: a text may be a stranger's.
    return MultimodalInput(text=text)


def _media(source: Any, kind: Literal["image", "video"]) -> MultimodalInput:
    if isinstance(source, BytesIO):
        source = source.getvalue()  # from its start, wherever somebody has read to
    if isinstance(source, MultimodalInput):
        return source
    item = to_input({kind: source})
    preset = "image" if kind == "image" else "clip"
    return MultimodalInput(images=item.images, video=item.video, instruction=INSTRUCTIONS[preset].document)


def _chunks(items: Sequence[MultimodalInput]) -> list[str]:
    """Returns each input as handlers are told it: its text, and what its media are."""
    return [
        " ".join(
            [
                *([one.text] if one.text else []),
                *(f"[image: {describe(image)}]" for image in one.images),
                *([f"[video: {describe(one.video)}]"] if one.video is not None else []),
            ]
        )
        for one in items
    ]


def _failed(names: Sequence[str], error: EncodeErrors) -> InputError:
    at, first = error.failures[0]
    more = len(error.failures) - 1
    named = shorten(names[at], 80)
    return InputError(f"{named}: {first}{f' (and {more} more of the batch)' if more else ''}")
