"""UmeR1Embedding: an embedding model of LlamaIndex that sees pictures, pages and clips."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from typing import Any, Literal, Self

from llama_index.core.bridge.pydantic import ConfigDict, Field

from llama_index.embeddings.ume_r1.embeds import Embeds
from ume_r1_rag.checkpoints import DEFAULT_MODEL
from ume_r1_rag.describe import describe_url
from ume_r1_rag.errors import ConfigError
from ume_r1_rag.frameworks import EncoderOptions, LazyEncoder, OneVector, by_own_name
from ume_r1_rag.media.fetch import Fetcher
from ume_r1_rag.media.limits import MediaLimits
from ume_r1_rag.packed import WEIGHTS
from ume_r1_rag.types import Encoder, check_think

_CHANGEABLE = frozenset({"callback_manager", "rate_limiter", "embed_batch_size"})
_UNPICKLED = frozenset({"callback_manager", "rate_limiter", "embeddings_cache"})
_GIVEN, _ONCE = "given_encoder", "once"
_NO_CACHE = (
    "embeddings_cache is refused: its key is the text alone, so a query would be given a document's vector, "
    "and one model or mode another's. Use cache='embeddings.sqlite', which keeps content, role, mode, model "
    "and think budget apart, and knows pictures"
)


class UmeR1Embedding(Embeds):
    """Embeds texts, pictures, pages, clips and mixes with UME-R1; as a transformation it takes any node.

    Nothing is loaded before something is embedded. All methods may be called from several threads and loops;
    the asynchronous ones never block theirs.

    Example:
        >>> embedding = UmeR1Embedding()  # UME_R1_MODEL, else UME-R1-2B
        >>> embedding.get_query_embedding("a red circle")
        >>> embedding.get_image_embedding("cat.png")
        >>> IngestionPipeline(transformations=[embedding]).run(nodes=nodes)
    """

    model_config = ConfigDict(
        extra="forbid",
        protected_namespaces=("pydantic_model_",),
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,  # the value of a misspelt api_key
    )

    model_name: str = Field(
        default_factory=lambda: os.environ.get("UME_R1_MODEL") or DEFAULT_MODEL,
        description='"nano", a folder or a hub id; with base_url empty for whichever model is served.',
    )
    mode: Literal["disc", "gen", "packed"] = Field(
        default="disc",
        description=(
            "Which vector. disc (the default): one prefill. gen: the model reasons about every document and "
            "every query first, which costs many times that; the first use says how much. packed: both in "
            "one vector of twice the length, for stores that hold one a document."
        ),
    )
    weights: tuple[float, float] = Field(
        default=WEIGHTS, description="Of disc and gen in a packed query; documents do not depend on them."
    )
    think: int | Literal["full", "none"] | None = Field(
        default=None, description='Think budget of gen: tokens, "full" or "none"; the encoder\'s if None.'
    )
    query_kind: str | None = Field(
        default=None, description='Instruction preset of text queries: "page", "image", "clip" …'
    )
    embed_batch_size: int = Field(
        default=32, gt=0, le=2048, description="Inputs given to the encoder at once."
    )
    num_workers: int | None = Field(
        default=None, gt=0, description="Asynchronous calls of the encoder at a time; 4 if None."
    )
    backend: Literal["auto", "transformers", "vllm"] | None = Field(
        default=None, description="What runs the model."
    )
    device: str | None = Field(default=None, description='Where, e.g. "cuda:1".')
    dtype: str | None = Field(default=None, description='"float32", "bfloat16" or "auto".')
    preset: str | None = Field(default=None, description='Protocol: "serving", "paper" or "mteb".')
    max_new_tokens: int | None = Field(default=None, description="Cap on one generation.")
    revision: str | None = Field(default=None, description="Hub commit; the pinned one if None.")
    base_url: str | None = Field(default=None, description="Address of an `ume-r1 serve` that encodes.")
    api_key: str | None = Field(
        default=None, exclude=True, repr=False, description="Of that server; UME_R1_API_KEY if None."
    )
    timeout_s: float | None = Field(
        default=None, gt=0, description="Most seconds for one input on that server; 600 if None."
    )
    max_retries: int | None = Field(
        default=None, ge=0, description="How often a request to it is sent again; 6 if None."
    )
    cache: str | None = Field(
        default=None, description="File in which vectors are kept, see CachedEncoder; no cache if None."
    )
    cache_tenant: str | None = Field(default=None, description="Whose entries of the cache these are.")
    fetcher: Fetcher | None = Field(
        default=None, description="How URLs are had; by default they are refused."
    )
    media_limits: MediaLimits | None = Field(default=None, description="Which media are refused.")
    vllm: dict[str, Any] | None = Field(default=None, description='How vLLM is run, with backend="vllm".')

    def __init__(
        self, model_name: str | None = None, *, encoder: Encoder | None = None, **options: Any
    ) -> None:
        """Keeps how to embed; loads nothing.

        Args:
            model_name: see the field; ``model=``, as LangChain's classes call it, is taken as well.
            encoder: an encoder that is open already, in place of all that says how one is made. It is shared
                and never pickled. ``think`` is then its own.
            **options: the fields; an unknown one is an error.

        Raises:
            ConfigError: an option cannot work.
            pydantic.ValidationError: an option is unknown or of another type; a ``ValueError``.
        """
        if options.get("embeddings_cache") is not None:
            raise ConfigError(_NO_CACHE)
        _check_base_url(options.get("base_url"))
        own = getattr(encoder, "model", None)
        options = by_own_name({**options, "model_name": model_name}, "model_name", "model")
        if options["model_name"] is not None:
            options["model_name"] = str(options["model_name"])
        elif encoder is not None:
            options["model_name"] = own if isinstance(own, str) else "given"
        elif options.get("base_url") is not None:
            options["model_name"] = ""
        else:
            del options["model_name"]
        super().__init__(**options)
        if self.think is not None:
            check_think(self.think)
        remote = [name for name in ("timeout_s", "max_retries") if getattr(self, name) is not None]
        if remote and self.base_url is None:
            raise ConfigError(f"{', '.join(remote)}: without base_url= nothing is asked over a network")
        if encoder is not None:
            foreign = sorted(name for name in _MAKING if getattr(self, name) is not None)
            if foreign:
                raise ConfigError(
                    f"{', '.join(foreign)} says how an encoder is made, but one is given: leave it out"
                )
            # The index and the cache go by its fingerprint, which says its own budget.
            theirs = encoder.fingerprint.get("think")
            if self.think is not None and self.think != theirs:
                raise ConfigError(
                    f"think={self.think!r}, but the encoder that is given has "
                    f"{'none' if theirs is None else f'think={theirs!r}'}: give it to the encoder"
                )
        self._lazy = LazyEncoder(self._encoder_options(), encoder, self.num_workers)
        self._maker = OneVector(self._lazy, self.mode, weights=self.weights, query_kind=self.query_kind)

    @classmethod
    def class_name(cls) -> str:
        """The name by which it is serialised."""
        return "UmeR1Embedding"

    @property
    def encoder(self) -> Encoder:
        """The encoder, made now if it was not before."""
        return self._lazy.get()

    @property
    def dimension(self) -> int:
        """The length of every vector; of packed ones twice the model's. Makes the encoder."""
        return self._maker.dimension

    def close(self) -> None:
        """Frees a model that was loaded here and closes its cache; used again, it is loaded again."""
        self._lazy.close()

    def to_payload(self) -> dict[str, Any]:
        """What is told to tracing: how vectors are made, and no secret."""
        made = self._lazy.made
        served = getattr(made, "model", None) if self.base_url else None
        return {
            **super().to_payload(),
            "model_name": served or self.model_name,
            "mode": self.mode,
            "think": self.think,
            "base_url": None if self.base_url is None else describe_url(self.base_url),
            "dimension": None if made is None else self.dimension,
        }

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """Returns the fields, without the key of a server, and a value that is never the same twice.

        LlamaIndex's ingestion cache takes this dictionary and the nodes' *texts* for all that decides the
        outcome: the vectors of two pictures without text would be one another's. So it never finds anything.
        """
        found: dict[str, Any] = {**super().to_dict(**kwargs), _ONCE: uuid.uuid4().hex}
        return {**found, _GIVEN: True} if self._lazy.given is not None else found

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> Self:
        """Returns what :meth:`to_dict` came from; ``kwargs`` are further fields, e.g. ``api_key``.

        Raises:
            ConfigError: it was made around an encoder, and none is given.
        """
        kept = {
            name: value for name, value in data.items() if name not in (_ONCE, _GIVEN, "embeddings_cache")
        }
        if data.get(_GIVEN) and kwargs.get("encoder") is None:
            raise ConfigError("it was made around an encoder that is not serialised: from_dict(…, encoder=…)")
        if kwargs.get("encoder") is not None:
            kept.pop("model_name", None)
        return super().from_dict(kept, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        """Returns the fields: a copy in another process loads the model itself.

        Raises:
            ConfigError: it was made around an encoder, which does not travel.
        """
        if self._lazy.given is not None:
            raise ConfigError("it was made around an encoder, which cannot be pickled: name a model instead")
        return {name: getattr(self, name) for name in type(self).model_fields if name not in _UNPICKLED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Makes it anew from its fields."""
        self.__init__(**state)  # type: ignore[misc]

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Returns a copy that shares the encoder."""
        return self.model_copy()

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets what may change; refuses what decides the vectors, some of which may be stored already."""
        if self.__pydantic_private__:
            self._check_change(name, value)
        super().__setattr__(name, value)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Returns a copy that shares the encoder.

        Args:
            update: fields that may change.
            deep: makes no difference.

        Raises:
            ConfigError: an updated field decides the vectors: the copy would still make the old ones.
        """
        for name, value in (update or {}).items():
            self._check_change(name, value)
        return super().model_copy(update=update)  # an encoder cannot be copied

    def _check_change(self, name: str, value: Any) -> None:
        if name == "embeddings_cache" and value is not None:
            raise ConfigError(_NO_CACHE)
        if name in type(self).model_fields and name not in _CHANGEABLE:
            raise ConfigError(f"{name} decides the vectors and cannot be changed: make a new UmeR1Embedding")

    def _encoder_options(self) -> EncoderOptions:
        return EncoderOptions(
            model=self.model_name or None,
            think=self.think,
            vllm=self.vllm,
            tenant=self.cache_tenant,
            **{name: getattr(self, name) for name in _MAKING if name not in ("vllm", "cache_tenant")},
        )


def _check_base_url(value: Any) -> None:
    if isinstance(value, str) and "@" in (value.partition("://")[2] or value).partition("/")[0]:
        raise ConfigError(
            f"base_url={describe_url(value)!r} came with a user or password, which would be shown where the "
            "embedding is: pass the key as api_key="
        )


_MAKING = (
    *("backend", "device", "dtype", "preset", "max_new_tokens", "revision", "base_url", "api_key"),
    *("timeout_s", "max_retries", "cache", "fetcher", "media_limits", "vllm", "cache_tenant"),
)
"""Fields that say how an encoder is made."""
