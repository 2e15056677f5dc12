"""An encoder whose vectors a test can compute: random ones, seeded by space and text. It reads no files."""

from __future__ import annotations

import threading

import numpy as np

from ume_r1_rag.types import Embedding

D = 8


class FakeEncoder:
    """Vectors are random, seeded by space and text."""

    dimension = D
    spaces = ("disc", "gen")
    max_image_pixels = 64 * 64
    max_video_frames = 4
    kinds = frozenset(["page"])

    def __init__(self, **fields):
        self.fingerprint = {"weights": "fake", "dimension": D, "think": "full", **fields}
        self.calls = []

    def encode_query(self, inputs, mode="disc", **options):
        self.calls.append((inputs, mode, options, threading.get_ident()))
        if isinstance(inputs, list):
            return [self.encode(one.text or "picture", mode) for one in inputs]
        return self.encode(inputs.text or "picture", mode)

    encode_document = encode_query

    async def aencode_query(self, inputs, mode="disc", **options):
        return self.encode_query(inputs, mode, **options)

    aencode_document = aencode_query

    def encode(self, text, mode):
        return Embedding(
            disc=self.vector("disc", text) if mode != "gen" else None,
            gen=self.vector("gen", text) if mode != "disc" else None,
            reasoning=f"about {text}" if mode != "disc" else None,
        )

    def vector(self, space, text):
        seed = np.random.default_rng([ord(letter) for letter in space + text])
        vector = seed.standard_normal(D).astype(np.float32)
        return vector / np.linalg.norm(vector)
