"""Ingestion: a folder becomes documents, documents become points."""

from ume_r1_rag.ingest.files import MAX_TEXT_BYTES, TEXT_SUFFIXES, Item, Source, documents
from ume_r1_rag.ingest.pipeline import ingest
from ume_r1_rag.ingest.report import Failure, IngestReport, Progress, Skipped

__all__ = [
    "MAX_TEXT_BYTES",
    "TEXT_SUFFIXES",
    "Failure",
    "IngestReport",
    "Item",
    "Progress",
    "Skipped",
    "Source",
    "documents",
    "ingest",
]
