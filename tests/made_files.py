"""Files that several tests read, made on the spot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw


def write_pdf(path: Path, pages: int, text: str = "page") -> Path:
    """Writes a PDF of pictures of pages; ``text`` makes it differ from another one."""
    sheets = []
    for number in range(pages):
        sheet = Image.new("RGB", (200, 300), "white")
        ImageDraw.Draw(sheet).text((20, 20), f"{text} {number + 1}", fill="black")
        sheets.append(sheet)
    sheets[0].save(path, save_all=True, append_images=sheets[1:])
    return path


def text_pdf(texts: Sequence[str], trailer: str = "", box: tuple[float, float] = (612, 792)) -> bytes:
    """Returns a PDF written by hand, a text layer a page; ``trailer`` adds entries, e.g. an encryption."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", ""]
    for text in texts:
        content = f"BT /F1 24 Tf 72 {box[1] / 2} Td ({text}) Tj ET"
        font = "<< /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >>"
        objects += [
            (
                f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {box[0]} {box[1]}] "
                f"/Resources << /Font {font} >> /Contents {len(objects) + 2} 0 R >>"
            ),
            f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
        ]
    kids = " ".join(f"{3 + 2 * number} 0 R" for number in range(len(texts)))
    objects[1] = f"<< /Type /Pages /Kids [{kids}] /Count {len(texts)} >>"
    out, places = "%PDF-1.7\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    start = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
    out += f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R {trailer} >>\nstartxref\n{start}\n%%EOF\n"
    return out.encode("latin-1")


def write_clip(path: Path, frames: int = 6, rate: int = 3, sound_only: bool = False) -> Path:
    """Writes a video whose n-th frame is red ``40 n`` modulo 256, or one second of silence."""
    import av
    import numpy as np

    with av.open(str(path), "w") as container:
        if sound_only:
            stream = container.add_stream("aac", rate=16000)
            silence = np.zeros((1, 4096), np.float32)
            frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            frame.sample_rate = 16000
            container.mux(stream.encode(frame))
        else:
            stream = container.add_stream("mpeg4", rate=rate)
            stream.width = stream.height = 64
            for number in range(frames):
                picture = Image.new("RGB", (64, 64), (40 * number % 256, 0, 0))
                container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    return path
