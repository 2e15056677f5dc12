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
from io import BytesIO

from loopback import Loopback, Request
from PIL import Image

from ume_r1_bench.visdoc.page_reader import read_page

UNKNOWN = "I do not know"
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
