"""A language model's stand-in that can do nothing but read: an endpoint of OpenAI's shape over loopback.

It sees the request alone. Of every picture in it, it makes out the letters by comparing pixels with how the
world's pages are drawn; then it looks for the question's key under the question's heading.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any, Self

import numpy as np
from PIL import Image, ImageDraw

from ume_r1_bench.world.page import DIGITS, KEYS, LETTERS
from ume_r1_bench.world.sheet import INK, KEY_SLOT, PAPER, ROW, SIZE, SLOT, VALUE_SLOT, _font

ALPHABET = " abcdefghijklmnopqrstuvwxyz" + LETTERS + DIGITS
NOTHING = "I cannot find that on these pages."


class PageAnswerer:
    """A server at ``base_url`` within a ``with`` block.

    Attributes:
        seen: of every request the pictures it held, as ``(title and page as told beside it, what it reads)``.
    """

    def __init__(self) -> None:
        self.seen: list[list[tuple[str, list[str]]]] = []
        answerer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                message = {"role": "assistant", "content": answerer.answer(request)}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
                body = json.dumps(
                    {
                        "id": "1",
                        "object": "chat.completion",
                        "created": 0,
                        "model": request["model"],
                        "choices": [choice],
                        "usage": usage,
                    }
                ).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: dict[str, Any]) -> str:
        """Returns the value that the question asks for, with where it stands, or that it is not there."""
        texts, pages = [], []
        for message in request["messages"]:
            content = message["content"]
            parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
            for part in parts:
                if part["type"] == "text":
                    texts.append(part["text"])
                elif part["type"] == "image_url":
                    image = _decode(part["image_url"]["url"])
                    pages.append((texts[-1] if texts else "", read_page(image)))
        self.seen.append(pages)
        question = " ".join(texts).lower()
        for told, lines in pages:
            if lines and lines[0] and lines[0] in question:
                for line in lines[1:]:
                    key, _, value = line.partition(" ")
                    if key in KEYS and key in question.split("of the")[0] and value:
                        return f"{value} ({_place(told)})"
        return NOTHING


def _decode(url: str) -> Image.Image:
    head, _, data = url.partition(",")
    assert head.startswith("data:image/"), head
    return Image.open(BytesIO(base64.b64decode(data))).convert("RGB")


def _place(told: str) -> str:
    title = re.search(r"title: (.+)", told)
    page = re.search(r"page: (\d+)", told)
    return f"{title[1] if title else 'somewhere'}, page {page[1] if page else '?'}"


def read_page(image: Image.Image) -> list[str]:
    """Returns heading and lines of a page of the world, by its pixels; of another picture whatever comes."""
    small = image.resize((SIZE, SIZE), Image.Resampling.BOX)
    grey = np.asarray(small.convert("L"), np.float32)
    heading = _row(grey, 0, 0, 16).strip()
    return [
        heading,
        *(
            f"{_row(grey, row, KEY_SLOT, 5).strip()} {_row(grey, row, VALUE_SLOT, 3).strip()}"
            for row in (1, 2, 3)
        ),
    ]


def _row(grey: np.ndarray, row: int, slot: int, count: int) -> str:
    shapes = _templates()
    found = ""
    for at in range(slot, slot + count):
        cell = grey[row * ROW : (row + 1) * ROW, at * SLOT : (at + 1) * SLOT]
        if cell.shape != (ROW, SLOT):
            break
        found += ALPHABET[int(np.argmin(((shapes - cell) ** 2).sum(axis=(2, 3)).min(axis=1)))]
    return found


@lru_cache(maxsize=1)
def _templates() -> np.ndarray:
    """Returns every letter at every jitter, ``(letters, 9, ROW, SLOT)``."""
    every = []
    for letter in ALPHABET:
        shifts = []
        for dx in (-1, 0, 1):
            for dy in (-1, 0, 1):
                cell = Image.new("RGB", (SLOT, ROW), PAPER)
                draw = ImageDraw.Draw(cell)
                draw.text((SLOT // 2 + dx, 20 + dy), letter, fill=INK, font=_font(), anchor="ms")
                shifts.append(np.asarray(cell.convert("L"), np.float32))
        every.append(shifts)
    return np.asarray(every)
