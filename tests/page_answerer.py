"""PageReader for other questions: "What is the KEY of the HEADING?", answered with where the page stands.

It sees the request alone, the pictures in it by their pixels, and the text before each as what it is told.
"""

from __future__ import annotations

import re

from page_reader import PageReader, blocks_of, open_url

from ume_r1_bench.visdoc.page_reader import read_page

NOTHING = "I cannot find that on these pages."
QUESTION = re.compile(r"what is the (\w+) of the (\w+ \w+)\?", re.IGNORECASE)


class PageAnswerer(PageReader):
    """The server.

    Attributes:
        seen: of every request the pictures it held, as what is told before each and what it reads.
    """

    def __init__(self):
        super().__init__()
        self.seen = []

    def reply(self, asked):
        texts, pictures = [], []
        for block in (block for message in asked["messages"] for block in blocks_of(message)):
            if block["type"] == "text":
                texts.append(block["text"])
            elif block["type"] == "image_url":
                pictures.append((texts[-1] if texts else "", read_page(open_url(block["image_url"]["url"]))))
        self.seen.append(pictures)
        return {"content": answer("\n".join(texts), pictures)}, "stop"


def answer(question, pictures):
    """Returns the value that the question asks for, with where it stands, or that it is not there."""
    match = QUESTION.search(question)
    for told, page in pictures if match else ():
        heading, lines = page or ("", {})
        if heading == match[2] and match[1] in lines:
            title, number = re.search(r"title: (.+)", told), re.search(r"page: (\d+)", told)
            return f"{lines[match[1]]} ({title[1] if title else '?'}, page {number[1] if number else '?'})"
    return NOTHING
