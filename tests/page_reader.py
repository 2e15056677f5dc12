"""A chat model that can read, over loopback: it answers from a request's pictures, and from nothing else.

It speaks OpenAI's ``/v1/chat/completions``, tool calls included. What it is asked is "what is the KEY in the
HEADING where OTHER is VALUE?". It looks at every picture that came with the request, reads the world's pages
among them by their pixels, and says the value beside the key on the first page of which the rest is true,
with the number that stands before the picture. Without such a page it does not know. With tools and nothing
found yet, it calls the first tool.
"""

from __future__ import annotations

import base64
import json
import re
from functools import cache
from io import BytesIO
from itertools import product

import numpy as np
from loopback import Loopback, Request
from PIL import Image, ImageDraw, ImageFont

from ume_r1_bench.world import page as words
from ume_r1_bench.world.sheet import FONT_SIZE, INK, KEY_SLOT, PAPER, ROW, SIZE, SLOT, VALUE_SLOT

UNKNOWN = "I do not know"
HEADINGS = tuple(f"{head} {kind}" for head, kind in product(words.HEADS, words.KINDS))
UNLIKE = 400
"""Mean square from which on a picture's first row is no heading."""
QUESTION = re.compile(r"what is the (\w+) in the (\w+ \w+) where (\w+) is (\w+)\?")


class PageReader(Loopback):
    """The server; ``base_url`` is for an OpenAI client.

    Attributes:
        bodies: every request's body, in order.
    """

    def __init__(self):
        super().__init__()
        self.bodies = []

    @property
    def base_url(self):
        return f"{self.url}/v1"

    def answer(self, request: Request, body: bytes, key: str | None):
        if (request.method, request.path) != ("POST", "/v1/chat/completions"):
            return 404, self.error(f"no {request.path}")
        asked = json.loads(body)
        self.bodies.append(asked)
        message, why = self.reply(asked)
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": why}
        head = {"id": "chat-1", "object": "chat.completion", "created": 0, "model": asked["model"]}
        return 200, json.dumps({**head, "choices": [choice], "usage": usage}).encode()

    def reply(self, asked):
        return reply(asked)

    def error(self, message):
        return json.dumps({"error": {"message": message, "type": "server_error"}}).encode()


def reply(asked):
    """Returns the message that answers a request, and why it ends."""
    question, pictures, found = "", [], False
    for message in asked["messages"]:
        found = found or message["role"] == "tool"
        number = None
        for block in blocks_of(message):
            if block["type"] == "text":
                number = (re.findall(r"^\[(\d+)\]", block["text"]) or [number])[0]
                match = QUESTION.search(block["text"]) if message["role"] == "user" else None
                question = match[0] if match else question
            elif block["type"] == "image_url":
                pictures.append((number, open_url(block["image_url"]["url"])))
    if asked.get("tools") and not found:
        tool = asked["tools"][0]["function"]
        (argument,) = tool["parameters"]["required"]
        call = {"name": tool["name"], "arguments": json.dumps({argument: question})}
        return {
            "content": None,
            "tool_calls": [{"id": "call-1", "type": "function", "function": call}],
        }, "tool_calls"
    return {"content": answer(question, pictures)}, "stop"


def blocks_of(message):
    content = message.get("content") or []
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def open_url(url):
    return Image.open(BytesIO(base64.b64decode(url.partition("base64,")[2]))).convert("RGB")


def answer(question, pictures):
    match = QUESTION.search(question)
    if match is None:
        return UNKNOWN
    key, heading, other, value = match.groups()
    for number, picture in pictures:
        shown, lines = read_page(picture) or ("", {})
        if shown == heading and lines.get(other) == value and key in lines:
            return f"{lines[key]} [{number}]"
    return UNKNOWN


def read_page(picture):
    """Returns a page's heading and its lines ``{key: value}``, or None if the picture is no such page."""
    if picture.width != picture.height:
        return None
    pixels = np.asarray(picture.resize((SIZE, SIZE)).convert("L"), dtype=np.float32)
    heading, error = best(pixels[:ROW], HEADINGS)
    if error > UNLIKE:
        return None
    lines = {}
    for row in (1, 2, 3):
        strip = pixels[row * ROW : (row + 1) * ROW]
        key, _ = best(strip[:, KEY_SLOT * SLOT : VALUE_SLOT * SLOT], words.KEYS)
        lines[key] = ""
        for place, letters in enumerate((words.LETTERS, words.DIGITS, words.LETTERS), VALUE_SLOT):
            lines[key] += best(strip[:, place * SLOT : (place + 1) * SLOT], tuple(letters))[0]
    return heading, lines


def best(strip, texts):
    """Returns the text that a strip shows most likely, and the mean square by which it differs."""
    named, drawings = drawn(texts, strip.shape[1])
    errors = ((drawings - strip) ** 2).mean(axis=(1, 2))
    at = int(errors.argmin())
    return named[at], float(errors[at])


@cache
def drawn(texts, width):
    """Returns each text as the world draws it, ``(N, ROW, width)``, at every jitter, and which text it is."""
    jitters = [(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1) if x == 0 or texts != HEADINGS]
    drawings = []
    for text, (right, down) in product(texts, jitters):
        image = Image.new("L", (width, ROW), PAPER[0])
        draw = ImageDraw.Draw(image)
        for slot, letter in enumerate(text):
            place = (slot * SLOT + SLOT // 2 + right, 20 + down)
            draw.text(place, letter, fill=INK[0], font=ImageFont.load_default(FONT_SIZE), anchor="ms")
        drawings.append(np.asarray(image, dtype=np.float32))
    return [text for text in texts for _ in jitters], np.stack(drawings)
