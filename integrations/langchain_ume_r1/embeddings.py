"""``UmeR1Embeddings``: LangChain's embeddings for texts, pictures, videos and mixes of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from langchain_core.embeddings import Embeddings
from langchain_core.utils import secret_from_env
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, field_validator, model_validator

from langchain_ume_r1.content import content_input, text_inputs, visual_inputs
from ume_r1_rag.backends.choice import BackendName
from ume_r1_rag.checkpoints import DEFAULT_MODEL
from ume_r1_rag.describe import describe_url
from ume_r1_rag.errors import ConfigError
from ume_r1_rag.frameworks import EncoderOptions, LazyEncoder, OneVector, Role, VectorMode, by_own_name
from ume_r1_rag.packed import WEIGHTS, check_weights
from ume_r1_rag.types import Embedding, Encoder, Mode, MultimodalInput, Space, Think, check_think

_LOCAL = ("backend", "device", "dtype", "revision", "preset", "batch_size", "vllm")
"""What a server decides for itself."""
_REMOTE = ("timeout_s", "max_retries")
_AROUND = frozenset({"mode", "weights", "think", "kind", "max_concurrency", "cache"})
"""What is still open around an encoder that is loaded already."""
_PER_CALL = frozenset({"mode", "weights", "kind"})
"""What does not decide which encoder it is, or how it is reached."""


class UmeR1Embeddings(BaseModel, Embeddings):
    """Embeds texts, pictures, videos and mixes of them, here or on an ``ume-r1 serve``.

    Nothing is loaded until something is embedded, and embeddings of one process that are asked for with the
    same options share one model. All vectors of an instance are of one space: its ``mode``'s. They have unit
    length. Async methods do not block the event loop; what is asked at the same time shares batches.

    Example:
        >>> embeddings = UmeR1Embeddings(model="nano")
        >>> len(embeddings.embed_query("a red circle"))
        128

    Attributes:
        model: ``"nano"``, a directory, a hub id or ``st:…``; default ``UME_R1_MODEL``, else UME-R1-2B; with
            ``base_url`` the model that must be served, by default whichever is.
        backend: ``"transformers"`` (which is what ``"auto"`` takes) or ``"vllm"``.
        device: e.g. ``"cuda:1"``; default CUDA, then MPS, then CPU.
        dtype: ``"float32"``, ``"bfloat16"`` or ``"auto"``.
        revision: hub revision; default the pinned one.
        preset: ``"serving"``, ``"paper"`` or ``"mteb"``.
        mode: ``"disc"``, one prefill for an input; ``"gen"``, for which the model writes a reasoning first;
            or ``"packed"``, both in one vector of 2D, for stores that hold one a document (see
            ``ume_r1_rag.packed``). The first use of gen warns with what it cost.
        weights: of disc and gen in a packed text query.
        think: think budget of gen: ``"full"``, ``"none"`` or a number of tokens; by default ``"full"``, or
            the server's. It is the encoder's own, and so part of what a collection is marked with:
            embeddings of several budgets load a model each.
        kind: instruction preset for queries, e.g. ``"page"``; none by default.
        batch_size: most inputs in one batch of the model.
        max_concurrency: most async calls that are encoded at a time in one event loop; others wait. With
            ``base_url``, requests at a time as well.
        base_url: address of an ``ume-r1 serve``.
        api_key: of that server; default ``UME_R1_API_KEY``.
        timeout_s: most seconds for one input on that server; default 600.
        max_retries: how often a request to it is sent again; default 6.
        cache: file in which vectors are kept, for all roles and modes apart; see ``CachedEncoder``.
        vllm: options of vLLM, with ``backend="vllm"``.
    """

    model_config = ConfigDict(
        # The key would stand in the text of an error.
        extra="forbid",
        protected_namespaces=(),
        hide_input_in_errors=True,
        frozen=True,
    )

    model: str | None = None
    backend: BackendName = "auto"
    device: str | None = None
    dtype: str = "auto"
    revision: str | None = None
    preset: str = "serving"
    mode: VectorMode = "disc"
    weights: tuple[float, float] = WEIGHTS
    think: Think | None = None
    kind: str | None = None
    batch_size: int = Field(32, ge=1)
    max_concurrency: int = Field(32, ge=1)
    base_url: str | None = None
    api_key: SecretStr | None = Field(default_factory=secret_from_env("UME_R1_API_KEY", default=None))
    timeout_s: float | None = Field(None, gt=0)
    max_retries: int | None = Field(None, ge=0)
    cache: Path | None = None
    vllm: dict[str, Any] | None = None

    _lazy: LazyEncoder = PrivateAttr()

    def __init__(self, model: str | Path | None = None, **fields: Any) -> None:
        """Notes the options; see the class for each.

        Args:
            model: see the class; ``model_name=``, as LlamaIndex's classes call it, is taken as well.
            **fields: the others.

        Raises:
            ConfigError: the model is named twice.
            pydantic.ValidationError: an option is unknown or cannot work; a ``ValueError``.
        """
        fields = by_own_name(
            {**fields, "model": None if model is None else str(model)}, "model", "model_name"
        )
        if fields.get("model") is None and fields.get("base_url") is None:
            fields["model"] = os.environ.get("UME_R1_MODEL") or DEFAULT_MODEL
        super().__init__(**fields)

    @classmethod
    def from_encoder(cls, encoder: Encoder, **fields: Any) -> Self:
        """Returns embeddings around an encoder that is loaded already and stays the caller's to close.

        Args:
            encoder: e.g. a ``UmeR1Encoder``, ``CachedEncoder`` or ``RemoteEncoder``.
            **fields: ``mode``, ``weights``, ``think``, ``kind``, ``max_concurrency`` and ``cache``.

        Raises:
            ConfigError: another field is given, or another ``think`` than the encoder's: it has decided it.
        """
        foreign = sorted(fields.keys() - _AROUND)
        if foreign:
            raise ConfigError(f"{', '.join(foreign)}: the encoder has decided that, leave it out")
        think, own = fields.get("think"), encoder.fingerprint.get("think")
        if think is not None and think != own:
            raise ConfigError(
                f"think={think!r}, but the encoder's is {own!r}, and vectors are marked with that: make the "
                "encoder with this budget"
            )
        made = cls(model=str(encoder.fingerprint.get("model") or "local"), **fields)
        made._lazy = LazyEncoder(EncoderOptions(cache=made.cache), encoder, made.max_concurrency)
        return made

    @field_validator("think", mode="before")
    @classmethod
    def _check_think(cls, value: Any) -> Any:
        return None if value is None else check_think(value)

    @field_validator("weights")
    @classmethod
    def _check_weights(cls, value: tuple[float, float]) -> tuple[float, float]:
        return check_weights(value)

    @field_validator("base_url")
    @classmethod
    def _check_base_url(cls, value: str | None) -> str | None:
        if value is not None and "@" in value.partition("://")[2].partition("/")[0]:
            raise ConfigError(
                f"base_url={describe_url(value)!r} came with a user or password, which would be shown where "
                "these embeddings are: pass the key as api_key="
            )
        return value

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        given = self.model_fields_set
        if self.base_url is not None:
            foreign = [name for name in _LOCAL if name in given]
            if foreign:
                raise ConfigError(f"{', '.join(foreign)}: the server at base_url decides that, leave it out")
        elif "api_key" in given and self.api_key is not None:
            raise ConfigError("api_key= is for a server: give base_url= as well")
        else:
            foreign = [name for name in _REMOTE if name in given]
            if foreign:
                raise ConfigError(f"{', '.join(foreign)}: without base_url= nothing is asked over a network")
        return self

    def model_post_init(self, context: Any, /) -> None:
        """Makes what loads the encoder; loads nothing."""
        options: dict[str, Any] = {"model": self.model, "think": self.think, "cache": self.cache}
        if self.base_url is not None:
            key = None if self.api_key is None else self.api_key.get_secret_value()
            options |= {"base_url": self.base_url, "api_key": key, "concurrency": self.max_concurrency}
            options |= {name: getattr(self, name) for name in _REMOTE}
        else:
            # Those left alone are not passed on: another kind of model may not have them.
            options |= {name: getattr(self, name) for name in _LOCAL if name in self.model_fields_set}
            # What is the default anyway is left out: encoders are shared by what is asked for.
            options["think"] = None if self.think == "full" else self.think
        self._lazy = LazyEncoder(EncoderOptions(**options), concurrency=self.max_concurrency)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Returns a copy around the same model, or around another one if ``update`` says so.

        Args:
            update: fields of the copy; if one decides which model it is, all are validated.
            deep: whether the fields are copied as well; the model never is.

        Raises:
            pydantic.ValidationError: the fields cannot work together.
            ConfigError: these embeddings are around an encoder, which has decided that field.
        """
        changed = {
            name: value for name, value in (update or {}).items() if value != getattr(self, name, None)
        }
        if changed.keys() <= _PER_CALL:
            return super().model_copy(update=update, deep=deep)
        given = self._lazy.given
        own = {name: getattr(self, name) for name in self.model_fields_set}
        if given is None:
            return type(self)(**own | changed)
        # Its name is not the caller's to give.
        return self.from_encoder(given, **{n: own[n] for n in own if n != "model"} | changed)

    @property
    def encoder(self) -> Encoder:
        """The encoder, loaded now if it was not."""
        return self._lazy.get()

    @property
    def loaded(self) -> bool:
        """Whether the encoder is loaded."""
        return self._lazy.made is not None

    def in_mode(self, mode: Space) -> Self:
        """Returns these embeddings in one space, around the same model."""
        return self if mode == self.mode else self.model_copy(update={"mode": mode})

    def close(self) -> None:
        """Gives the model back, which is freed once nobody else has it; the next call loads it anew."""
        self._lazy.close()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Returns a vector for each text, in order; a text is never taken for a path or URL.

        Raises:
            InputError: a text is empty.
        """
        return self._vectors(self.encode(text_inputs(texts), "document"))

    def embed_query(self, text: str) -> list[float]:
        """Returns the vector of a query, with the instruction of ``kind`` before it.

        Raises:
            InputError: it is empty.
        """
        return self._vectors(self.encode(text_inputs([text]), "query"), "query")[0]

    def embed_image(self, uris: Any) -> Any:
        """Returns the vector of a picture, or a list of vectors for a list of pictures.

        A picture's vector is the same whether it is stored or asked with.

        Args:
            uris: a path, URL, data URL, PIL image or encoded bytes, or a list of those.

        Raises:
            InputError: one cannot be read; of a list its position is named.
        """
        return self._embed_visual("image", uris)

    def embed_images(self, uris: Sequence[Any]) -> list[list[float]]:
        """Returns a vector for each picture, in order; see :meth:`embed_image`."""
        found: list[list[float]] = self._embed_visual("image", _several("embed_images", uris))
        return found

    def embed_video(self, uris: Any) -> Any:
        """Returns the vector of a video, or a list of them for a list of videos; see :meth:`embed_image`."""
        return self._embed_visual("video", uris)

    def embed_videos(self, uris: Sequence[Any]) -> list[list[float]]:
        """Returns a vector for each video, in order; see :meth:`embed_image`."""
        found: list[list[float]] = self._embed_visual("video", _several("embed_videos", uris))
        return found

    def embed_content(self, parts: Any, role: Role = "document") -> list[float]:
        """Returns one vector of several parts together: texts, pictures and a video.

        Args:
            parts: content blocks as of a message, strings, or mappings like ``{"image": "q3.png"}``.
            role: ``"query"`` puts the instruction of ``kind`` before the text.

        Raises:
            InputError: a part cannot be used.
        """
        return self._vectors(self.encode([content_input(parts)], role), role)[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """``embed_documents`` without blocking the event loop."""
        return self._vectors(await self.aencode(text_inputs(texts), "document"))

    async def aembed_query(self, text: str) -> list[float]:
        """``embed_query`` without blocking the event loop."""
        return self._vectors(await self.aencode(text_inputs([text]), "query"), "query")[0]

    async def aembed_image(self, uris: Any) -> Any:
        """``embed_image`` without blocking the event loop."""
        return await self._aembed_visual("image", uris)

    async def aembed_images(self, uris: Sequence[Any]) -> list[list[float]]:
        """``embed_images`` without blocking the event loop."""
        found: list[list[float]] = await self._aembed_visual("image", _several("aembed_images", uris))
        return found

    async def aembed_video(self, uris: Any) -> Any:
        """``embed_video`` without blocking the event loop."""
        return await self._aembed_visual("video", uris)

    async def aembed_videos(self, uris: Sequence[Any]) -> list[list[float]]:
        """``embed_videos`` without blocking the event loop."""
        found: list[list[float]] = await self._aembed_visual("video", _several("aembed_videos", uris))
        return found

    async def aembed_content(self, parts: Any, role: Role = "document") -> list[float]:
        """``embed_content`` without blocking the event loop."""
        item = await asyncio.to_thread(content_input, parts)
        return self._vectors(await self.aencode([item], role), role)[0]

    def encode(
        self, items: Sequence[MultimodalInput], role: Role = "document", mode: Mode | None = None
    ) -> list[Embedding]:
        """Returns the full embeddings of some inputs, in order, with reasonings where there is gen.

        Args:
            items: the inputs.
            role: ``"query"`` or ``"document"``.
            mode: ``"both"`` for both vectors; default these embeddings' own.
        """
        return self._one_vector.encode(role, items, mode)

    async def aencode(
        self, items: Sequence[MultimodalInput], role: Role = "document", mode: Mode | None = None
    ) -> list[Embedding]:
        """:meth:`encode` without blocking the event loop."""
        return await self._one_vector.aencode(role, items, mode)

    def _embed_visual(self, kind: Literal["image", "video"], uris: Any) -> Any:
        items, single = visual_inputs(kind, uris)
        found = self._vectors(self.encode(items, "document"))
        return found[0] if single else found

    async def _aembed_visual(self, kind: Literal["image", "video"], uris: Any) -> Any:
        # Looking at files is work, too.
        items, single = await asyncio.to_thread(visual_inputs, kind, uris)
        found = self._vectors(await self.aencode(items, "document"))
        return found[0] if single else found

    @property
    def _one_vector(self) -> OneVector:
        return OneVector(self._lazy, self.mode, weights=self.weights, query_kind=self.kind)

    def _vectors(self, embeddings: Sequence[Embedding], role: Role = "document") -> list[list[float]]:
        one = self._one_vector
        return [one.vector(role, embedding) for embedding in embeddings]


def _several(name: str, uris: Any) -> list[Any]:
    if isinstance(uris, str | bytes | os.PathLike):
        raise ConfigError(f"{name} takes a list: for one of them use {name.removesuffix('s')}")
    return list(uris)
