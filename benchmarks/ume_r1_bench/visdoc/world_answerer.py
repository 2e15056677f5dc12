"""World answerer: a chat model over loopback that reads the world's pages, to try the whole way.

It speaks OpenAI's ``/v1/chat/completions`` and knows a request's texts and the pixels of its pictures, and
nothing else. It answers "what is the KEY in the HEADING where OTHER is VALUE?" by the first page that says
so, or says that it cannot; drafts such a question about a page; judges whether an answer is a right one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any, Final, Self

from PIL import Image, UnidentifiedImageError

from ume_r1_bench.visdoc.answer_metrics import UNANSWERABLE, exact_match
from ume_r1_bench.visdoc.page_reader import read_page

NAME: Final = "world"
_QUESTION = re.compile(r"what is the (\w+) in the (\w+ \w+) where (\w+) is (\w+)\?")
_JUDGED = re.compile(r"^Right answers: (.*)\nAnswer: (.*)$", re.MULTILINE)
_PATCH = 28
"""Pixels a side of what counts as a token of a picture, as for Qwen2-VL."""

Read = tuple[str, dict[str, str]] | None


class WorldAnswerer:
    """The server, within a ``with`` block.

    Attributes:
        requests: how many were answered.
    """

    def __init__(self) -> None:
        """Listens to nobody yet."""
        self.requests = 0
        self._known: dict[str, tuple[Read, int]] = {}
        self._server: ThreadingHTTPServer | None = None

    @property
    def base_url(self) -> str:
        """For an OpenAI client."""
        port = self._server.server_port if self._server is not None else 0
        return f"http://127.0.0.1:{port}/v1"

    def __enter__(self) -> Self:
        """Listens, at a free port."""
        handler = type("Handler", (_Handler,), {"answerer": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        """Listens no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Returns a chat completion."""
        blocks = list(_blocks(asked.get("messages") or []))
        text = "\n".join(block["text"] for block in blocks if block.get("type") == "text")
        seen = [self._read(block["image_url"]["url"]) for block in blocks if block.get("type") == "image_url"]
        reply = _reply(text, [page for page, _ in seen])
        self.requests += 1
        prompt, completion = len(text.split()) + sum(tokens for _, tokens in seen), len(reply.split())
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }
        message = {"role": "assistant", "content": reply}
        return {
            "id": f"chat-{self.requests}",
            "object": "chat.completion",
            "created": 0,
            "model": str(asked.get("model")),
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": usage,
        }

    def _read(self, url: str) -> tuple[Read, int]:
        """Returns what a picture says, and its tokens."""
        mark = hashlib.sha256(url.encode()).hexdigest()
        if mark not in self._known:
            try:
                data = base64.b64decode(url.partition("base64,")[2], validate=True)
                picture = Image.open(BytesIO(data)).convert("RGB")
            except (binascii.Error, UnidentifiedImageError, OSError):
                return None, 0
            self._known[mark] = read_page(picture), picture.width * picture.height // _PATCH**2
        return self._known[mark]


def _blocks(messages: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for message in messages:
        content = message.get("content") or []
        yield from [{"type": "text", "text": content}] if isinstance(content, str) else content


def _reply(text: str, pages: Sequence[Read]) -> str:
    judged = _JUDGED.search(text)
    if judged is not None and not pages:
        return "yes" if any(exact_match(judged[2], one) for one in judged[1].split(" | ")) else "no"
    asked = _QUESTION.search(text)
    if asked is None:
        return _drafted(pages[0]) if pages else UNANSWERABLE
    key, heading, other, value = asked.groups()
    for shown, lines in filter(None, pages):
        if shown == heading and lines.get(other) == value and key in lines:
            return lines[key]
    return UNANSWERABLE


def _drafted(page: Read) -> str:
    """Returns a question about a page with its answer, as JSON."""
    heading, lines = page or ("", {})
    if len(lines) < 2:
        return "{}"
    (key, answer), (other, value), *_ = lines.items()
    question = f"what is the {key} in the {heading} where {other} is {value}?"
    return json.dumps({"question": question, "answer": answer})


class _Handler(BaseHTTPRequestHandler):
    answerer: WorldAnswerer
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """Answers a chat completion."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, content = 404, {"error": {"message": f"no {self.path}", "type": "invalid_request_error"}}
        if self.path == "/v1/chat/completions":
            try:
                status, content = 200, self.answerer.answer(json.loads(body))
            except (ValueError, KeyError, TypeError) as error:
                status, content = 400, {"error": {"message": repr(error), "type": "invalid_request_error"}}
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: object) -> None:
        """Logs nothing."""
