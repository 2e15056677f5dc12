"""A procedural world of pictures, pages and clips, to train the nano on and to measure it."""

from ume_r1_bench.world.corpus import Document, Query, read_corpus, read_queries
from ume_r1_bench.world.families import FAMILIES, LABELS, LESSONS
from ume_r1_bench.world.film import single_frame
from ume_r1_bench.world.sheet import erase_text
from ume_r1_bench.world.split import SPLITS, WorldError
from ume_r1_bench.world.write import WorldSummary, make_world

__all__ = [
    "FAMILIES",
    "LABELS",
    "LESSONS",
    "SPLITS",
    "Document",
    "Query",
    "WorldError",
    "WorldSummary",
    "erase_text",
    "make_world",
    "read_corpus",
    "read_queries",
    "single_frame",
]
