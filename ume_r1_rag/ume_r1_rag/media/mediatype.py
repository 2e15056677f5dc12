"""Telling pictures from videos: by file name, by content type, by the first bytes."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

MediaKind = Literal["image", "video"]

# HEIC needs pillow-heif, which we do not require; it is listed so that a HEIC path is never taken for text.
IMAGE_EXTENSIONS = (
    ".png .apng .jpg .jpeg .jpe .jfif .gif .webp .bmp .dib .tif .tiff .ppm .pgm .pbm .pnm .ico .avif .heic "
    ".heif .jp2 .qoi"
).split()

# No ".ts" and ".mts": far more such names are TypeScript than MPEG.
VIDEO_EXTENSIONS = ".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .wmv .flv .ogv .3gp .m2ts".split()

_IMAGE_SUFFIXES = tuple(IMAGE_EXTENSIONS)
_VIDEO_SUFFIXES = tuple(VIDEO_EXTENSIONS)

SNIFF_BYTES = 512
"""How many first bytes ``kinds_of_bytes`` wants."""

_IMAGE_MAGIC = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"\0\0\0\x0cjP  ",
    b"\xff\x4f\xff\x51",
    b"\0\0\1\0",
    b"qoif",
)
_VIDEO_MAGIC = (
    b"\x1a\x45\xdf\xa3",
    b"FLV\1",
    b"OggS",
    b"\0\0\1\xba",
    b"\0\0\1\xb3",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
)
_STILL_BRANDS = frozenset({b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1"})
_MOV_ATOMS = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})


def kind_of_name(name: str) -> MediaKind | None:
    """Returns the kind that a file name ends in, or None; case does not matter."""
    lower = name[-16:].lower()
    if lower.endswith(_IMAGE_SUFFIXES):
        return "image"
    return "video" if lower.endswith(_VIDEO_SUFFIXES) else None


def kind_of_url(url: str) -> MediaKind:
    """Returns the kind that the path of a URL ends in; a picture if it does not say.

    Raises:
        ValueError: the URL cannot be parsed.
    """
    return kind_of_name(urlsplit(url).path) or "image"


def kinds_of_bytes(head: bytes) -> tuple[MediaKind, ...]:
    """Returns the kinds that the first bytes of a file may be, the likelier first; empty if unknown.

    A GIF is both: its first frame is a picture, all of them are a video.
    """
    if head.startswith((b"GIF87a", b"GIF89a")):
        return ("image", "video")
    if head.startswith(_IMAGE_MAGIC) or _is_netpbm(head):
        return ("image",)
    if head.startswith(b"RIFF"):
        form = head[8:12]
        return ("image",) if form == b"WEBP" else ("video",) if form == b"AVI " else ()
    if head[4:8] == b"ftyp":
        return ("image",) if head[8:12] in _STILL_BRANDS else ("video",)
    transport = head[:1] == b"G" and head[188:189] == b"G"
    if head.startswith(_VIDEO_MAGIC) or head[4:8] in _MOV_ATOMS or transport:
        return ("video",)
    return ()


def content_type_fits(content_type: str, kind: MediaKind) -> bool:
    """Returns whether a Content-Type header allows for ``kind``; an absent or generic one does."""
    name = content_type.partition(";")[0].strip().lower()
    if name in ("", "application/octet-stream", "binary/octet-stream"):
        return True
    return name.startswith(f"{kind}/") or (kind == "video" and name in ("image/gif", "application/mp4"))


def _is_netpbm(head: bytes) -> bool:
    return head[:1] == b"P" and head[1:2] in (b"1", b"2", b"3", b"4", b"5", b"6") and head[2:3].isspace()
