"""From sources to pixels: pictures, videos, PDF pages, thumbnails."""

from ume_r1_rag.media.image import load_image
from ume_r1_rag.media.limits import LIMITS, MediaLimits
from ume_r1_rag.media.pdf import PdfPages
from ume_r1_rag.media.source import parse_data_url
from ume_r1_rag.media.thumbnail import thumbnail
from ume_r1_rag.media.timeline import Span, pick
from ume_r1_rag.media.video import VideoFile, load_video

__all__ = [
    "LIMITS",
    "MediaLimits",
    "PdfPages",
    "Span",
    "VideoFile",
    "load_image",
    "load_video",
    "parse_data_url",
    "pick",
    "thumbnail",
]
