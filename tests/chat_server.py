"""A chat model over loopback: answers as it is told, and fails when it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from loopback import Loopback, Request

Reply = str | Mapping[str, Any]


def last_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """Returns the text of the last message."""
    content = messages[-1]["content"]
    return content if isinstance(content, str) else next(p["text"] for p in content if p["type"] == "text")


def pictures(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the data URLs of the last message."""
    content = messages[-1]["content"]
    return [] if isinstance(content, str) else [p["image_url"]["url"] for p in content if p["type"] != "text"]


class ChatServer(Loopback):
    """An OpenAI-compatible chat server at ``base_url`` within a ``with`` block.

    Attributes:
        bodies: every request that was answered properly, in order.
        keys: of every such request.
        most: how many were under way at the same time, at most.
        pause_s: how long an answer takes.
    """

    def __init__(self, reply: Callable[[dict[str, Any]], Reply] | None = None, pause_s: float = 0.0) -> None:
        super().__init__()
        self.reply = reply or (lambda body: f"you said {last_text(body['messages'])}")
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.most, self.pause_s = 0, pause_s
        self._under_way = 0
        self._lock = threading.Lock()
        self._no_hurry = threading.Event()

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def answer(self, request: Request, body: bytes, key: str | None) -> tuple[int, bytes]:
        if request.path != "/v1/chat/completions":
            return 404, self.error("Not Found")
        asked = json.loads(body)
        with self._lock:
            self._under_way += 1
            self.most = max(self.most, self._under_way)
            self.bodies.append(asked)
            self.keys.append(key)
        self._no_hurry.wait(self.pause_s)
        reply = self.reply(asked)
        with self._lock:
            self._under_way -= 1
        message = {"content": reply} if isinstance(reply, str) else dict(reply)
        status, error = message.pop("status", 200), message.pop("error", None)
        if error is not None:
            return status, self.error(error)
        finish = message.pop("finish", "stop")
        spoken = message.get("content") or ""
        completion = {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": asked["model"],
            "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", **message}}],
            "usage": {"prompt_tokens": 10, "completion_tokens": len(spoken.split()), "total_tokens": 0},
        }
        return 200, json.dumps(completion).encode()

    def error(self, message: str) -> bytes:
        return json.dumps({"error": {"message": message}}).encode()
