"""Chat answer: what came of a request, and what all of them took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

KEPT = ("text", "prompt_tokens", "completion_tokens", "reasoning", "finish")
"""The fields of an answer that a cache keeps."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one request.

    Attributes:
        text: what the model wrote; empty after a failure.
        error: why there is no answer; None if there is one.
        prompt_tokens: as the server counts them.
        completion_tokens: the same, with the reasoning.
        cached: whether it cost nothing: it was in the cache, or the same request was under way.
        seconds: from the first attempt to the answer, with waits; 0 if cached.
        reasoning: what a server that takes the reasoning out of the text gives beside it.
        finish: the server's reason for the end: ``stop``, ``length``, …
    """

    text: str
    error: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached: bool = False
    seconds: float = 0.0
    reasoning: str = ""
    finish: str = ""


@dataclass(slots=True)
class Usage:
    """What an endpoint was used for so far.

    Attributes:
        requests: that were asked, from the cache or not.
        from_cache: of these, those that cost nothing.
        failures: of these, those without an answer.
        retries: attempts beyond the first.
        prompt_tokens: paid for; those of cached answers are not counted.
        completion_tokens: the same.
        cost: of the tokens, in the currency of the prices.
    """

    requests: int = 0
    from_cache: int = 0
    failures: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0


class Unreadable(Exception):
    """The server answered 200 with something that is no chat completion."""


def read_answer(reply: Any) -> Answer:
    """Returns what stands in a chat completion.

    Raises:
        Unreadable: it is none.
    """
    choices: Any = getattr(reply, "choices", None)
    message = getattr(choices[0], "message", None) if choices else None
    if message is None:
        raise Unreadable(f"no choices in {str(reply)[:100]!r}")
    usage = getattr(reply, "usage", None)
    # Not in OpenAI's own schema: vLLM and DeepSeek name it the first way, newer vLLM the second.
    reasoning = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
    return Answer(
        message.content or "",
        prompt_tokens=getattr(usage, "prompt_tokens", None) or 0,
        completion_tokens=getattr(usage, "completion_tokens", None) or 0,
        reasoning=reasoning if isinstance(reasoning, str) else "",
        finish=choices[0].finish_reason or "",
    )
