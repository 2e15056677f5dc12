"""What clients send: OpenAI's request, vLLM's ``messages``, our own fields; and how it becomes inputs.

A text in a request is always text. Pictures and videos are data URLs, or http(s) URLs, which the encoder's
guarded fetcher gets, if it is told to get any; nothing here can name a file of the server's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ume_r1_rag.errors import ConfigError, InputError
from ume_r1_rag.types import MultimodalInput, SearchSpace
from ume_r1_rag.unicode import unicode_text

if TYPE_CHECKING:
    from ume_r1_rag.server.limits import ServerLimits

_FRAMES = ("data:video/jpeg;base64,", "data:video/png;base64,")
"""A video as its frames, joined by commas, as vLLM takes it."""

_SCHEMES = ("http://", "https://")


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Url(_Body):
    """Where a picture or video is.

    Attributes:
        url: a data URL, or http(s) where the server fetches; frames as ``data:video/jpeg;base64,A,B,…``.
        detail: OpenAI's; without effect.
    """

    url: str = Field(min_length=1)
    detail: str | None = None


class TextPart(_Body):
    """A text."""

    type: Literal["text"]
    text: str


class ImagePart(_Body):
    """A picture."""

    type: Literal["image_url"]
    image_url: Url


class VideoPart(_Body):
    """A video."""

    type: Literal["video_url"]
    video_url: Url


Part: TypeAlias = Annotated[TextPart | ImagePart | VideoPart, Field(discriminator="type")]
Content: TypeAlias = str | Annotated[list[Part], Field(min_length=1)]


class Message(_Body):
    """A message: what is embedded is the user's, an instruction is the system's."""

    role: Literal["system", "user"]
    content: Content


Chat: TypeAlias = Annotated[list[Message], Field(min_length=1, max_length=2)]
Budget: TypeAlias = Annotated[int, Field(ge=1, le=1 << 20, strict=True)] | Literal["full", "none"]
Path: TypeAlias = Annotated[str, Field(pattern=r"^[\w-]+(\.[\w-]+)*$", max_length=200)]
Scalar: TypeAlias = str | bool | Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)] | float
Kind: TypeAlias = Annotated[str, Field(max_length=64)]
Deadline: TypeAlias = Annotated[int, Field(ge=1, le=86_400_000, strict=True)]


class EmbeddingsRequest(_Body):
    """What is to be embedded, and how.

    Attributes:
        model: if given, the one that is served.
        input: a text, or a list of texts and chats.
        messages: one chat, or a list of them, in place of ``input``.
        encoding_format: vectors as numbers, or as base64 of little-endian float32.
        dimensions: refused unless it is the model's.
        user: OpenAI's; without effect.
        mode: which vectors; with ``both``, ``embedding`` is disc's, and gen's stands beside it.
        think: think budget; the server's by default.
        num_samples: further gen vectors of sampled generations.
        temperature: of those.
        seed: of those.
        return_reasoning: whether what the model wrote is in the answer.
        kind: the instruction preset for what is looked for.
        input_type: on which side of a search the inputs stand.
        deadline_ms: milliseconds after which an answer without gen is an error that carries disc.
    """

    model: str | None = None
    input: Annotated[str, Field(min_length=1)] | Annotated[list[str | Chat], Field(min_length=1)] | None = (
        None
    )
    messages: Chat | Annotated[list[Chat], Field(min_length=1)] | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None
    mode: Literal["disc", "gen", "both"] = "disc"
    think: Budget | None = None
    num_samples: int = Field(0, ge=0)
    temperature: float = Field(1.0, gt=0, le=100, allow_inf_nan=False)
    seed: int = Field(0, ge=-(1 << 63), lt=1 << 63)
    return_reasoning: bool = False
    kind: Kind | None = None
    input_type: Literal["query", "document"] = "document"
    deadline_ms: Deadline | None = None

    @field_validator("input", mode="before")
    @classmethod
    def _no_token_ids(cls, value: Any) -> Any:
        if isinstance(value, list) and value and isinstance(value[0], int | list) and _holds_ids(value):
            raise ValueError("token ids are not taken, since the prompt is put around a text: send the text")
        return value

    def items(self, limits: ServerLimits) -> list[MultimodalInput]:
        """Returns the inputs in order.

        Raises:
            ConfigError: there is neither ``input`` nor ``messages``, or both.
            InputError: one of them is empty, over a limit, or no input; its position is named.
        """
        if (self.input is None) == (self.messages is None):
            raise ConfigError("give what is to be embedded as input or as messages, one of them")
        given: list[Any]
        if self.messages is not None:
            given = [self.messages] if isinstance(self.messages[0], Message) else list(self.messages)
        else:
            given = [self.input] if isinstance(self.input, str) else list(self.input or ())
        items = []
        for position, one in enumerate(given):
            try:
                items.append(to_item(one, limits))
            except InputError as error:
                raise InputError(f"input {position}: {error}") from error
        return items

    def options(self) -> dict[str, Any]:
        """Returns the encoder's options, as far as they are given."""
        found: dict[str, Any] = {"think": self.think, "kind": self.kind}
        if self.num_samples:
            found |= {
                "num_samples": self.num_samples,
                "temperature": self.temperature,
                "seed": self.seed,
            }
        return {name: value for name, value in found.items() if value is not None}


class SearchRequest(_Body):
    """A search; what its fields mean is said at ``ume_r1_rag.retriever.SearchOptions``.

    Attributes:
        query: a text, or the parts of a user's message.
        k: at most so many hits.
        mode: by which space to rank, or by several.
        return_reasoning: whether what the model wrote about the question and the hits is in the answer.
        deadline_ms: milliseconds after which the answer is ranked without gen, and says so.
    """

    model: str | None = None
    query: Content
    k: int = Field(10, ge=1)
    mode: Literal["disc", "gen", "text", "fused"] = "fused"
    spaces: list[SearchSpace] | None = None
    fusion: Literal["convex", "rrf", "dbsf"] = "convex"
    weights: dict[SearchSpace, float] | None = None
    candidates: int = Field(100, ge=1)
    group_by: Literal["document"] | None = None
    group_size: int = Field(1, ge=1, le=100)
    filter: dict[Path, Scalar | list[Scalar] | None] | None = None
    kind: Kind | None = None
    think: Budget | None = None
    text: str | None = None
    return_reasoning: bool = False
    deadline_ms: Deadline | None = None

    def item(self, limits: ServerLimits) -> MultimodalInput:
        """Returns what is asked.

        Raises:
            InputError: it is empty, over a limit, or no input.
        """
        return to_item([Message(role="user", content=self.query)], limits)

    def options(self, limits: ServerLimits) -> dict[str, Any]:
        """Returns the retriever's options.

        Raises:
            ConfigError: one is over a limit.
        """
        for name, value, most in (
            ("k", self.k, limits.hits),
            ("candidates", self.candidates, 10 * limits.hits),
        ):
            if value > most:
                raise ConfigError(f"{name}={value} is more than this server gives: at most {most}")
        names = ("spaces", "fusion", "weights", "candidates", "group_by", "group_size", "filter", "kind")
        return {name: getattr(self, name) for name in (*names, "think", "text")}


def to_item(one: str | list[Message], limits: ServerLimits) -> MultimodalInput:
    """Returns one input.

    Raises:
        InputError: it is empty, over a limit, or no input.
    """
    if isinstance(one, str):
        return MultimodalInput(text=_text([one], limits))
    texts: dict[str, list[str]] = {"system": [], "user": []}
    images: list[str] = []
    videos: list[str] = []
    if [message.role for message in one] not in (["user"], ["system", "user"]):
        raise InputError("give one message of the user, and before it at most one of the system")
    for message in one:
        parts = message.content
        for part in [TextPart(type="text", text=parts)] if isinstance(parts, str) else parts:
            if isinstance(part, TextPart):
                texts[message.role].append(part.text)
            elif message.role == "system":
                raise InputError("the system's message is an instruction: give it as text alone")
            elif isinstance(part, ImagePart):
                images.append(_checked(part.image_url.url, "image"))
            else:
                videos.append(_checked(part.video_url.url, "video"))
    if len(videos) > 1:
        raise InputError(f"{len(videos)} videos in one input: give one")
    if len(images) > limits.images:
        raise InputError(f"{len(images)} pictures in one input: give at most {limits.images}")
    return MultimodalInput(
        text=_text(texts["user"], limits),
        images=tuple(images),
        video=_video(videos[0], limits) if videos else None,
        instruction=_text(texts["system"], limits),
    )


def _holds_ids(value: list[Any]) -> bool:
    first = value[0][0] if isinstance(value[0], list) and value[0] else value[0]
    return isinstance(first, int)


def _text(texts: list[str], limits: ServerLimits) -> str | None:
    joined = "\n".join(texts)
    if len(joined) > limits.characters:
        raise InputError(f"a text of {len(joined)} characters: give at most {limits.characters}")
    return unicode_text(joined) if texts else None


def _checked(url: str, kind: str) -> str:
    if url.startswith((*_SCHEMES, f"data:{kind}/")):
        return url
    raise InputError(f"{kind}_url takes data:{kind}/…;base64,… or http(s) URLs, and no files of the server")


def _video(url: str, limits: ServerLimits) -> str | tuple[str, ...]:
    head = next((head for head in _FRAMES if url.startswith(head)), None)
    if head is None:
        return url
    frames = url[len(head) :].split(",")
    if len(frames) > limits.images:
        raise InputError(f"a video of {len(frames)} frames: give at most {limits.images}")
    return tuple(f"{head.replace('video', 'image')}{frame}" for frame in frames)
