"""Images to files and back. What trains and is queried is always what a written file decodes to."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from typing import Final

import av
import numpy as np
from PIL import Image

from ume_r1_bench.world.film import RATE

DPI: Final = 72


def encode_pdf(pages: Sequence[Image.Image]) -> bytes:
    """Returns a PDF of page rasters, one point to the pixel."""
    first, *rest = [page.convert("RGB") for page in pages]
    buffer = io.BytesIO()
    # Times and producer would make two writings of one page differ.
    first.save(
        buffer,
        "PDF",
        save_all=True,
        append_images=rest,
        resolution=DPI,
        quality=95,
        subsampling=0,
        creationDate=None,
        modDate=None,
        producer="",
    )
    return buffer.getvalue()


def decode_pdf(data: bytes, side: int) -> list[Image.Image]:
    """Returns the pages of a PDF, rasterised to ``side`` pixels across."""
    import pypdfium2

    document = pypdfium2.PdfDocument(data)
    try:
        return [
            page.render(scale=side / page.get_width()).to_pil().convert("RGB")
            for page in (document[index] for index in range(len(document)))
        ]
    finally:
        document.close()


def encode_mp4(frames: Sequence[Image.Image]) -> bytes:
    """Returns frames as H.264 in an MP4."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, RATE)
        stream.codec_context.thread_count = 1
        stream.options = {"crf": "8", "preset": "veryfast", "tune": "stillimage", "bf": "0"}
        for frame in frames:
            array = np.asarray(frame.convert("RGB"))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def decode_mp4(data: bytes) -> list[Image.Image]:
    """Returns the frames of an MP4."""
    with av.open(io.BytesIO(data), "r") as container:
        return [Image.fromarray(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def encode_png(image: Image.Image) -> bytes:
    """Returns an image as a PNG, written for speed."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
