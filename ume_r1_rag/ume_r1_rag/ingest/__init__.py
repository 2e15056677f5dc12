"""Ingestion: folders become documents, documents become points."""

from ume_r1_rag.ingest.agreement import Agreement, Question, compare, read_questions
from ume_r1_rag.ingest.enrich import Enricher, EnrichReport, enrich
from ume_r1_rag.ingest.estimate import Estimate, estimate
from ume_r1_rag.ingest.failures import DeadLetters
from ume_r1_rag.ingest.files import TEXT_SUFFIXES, Source, Walk
from ume_r1_rag.ingest.opened import MAX_TEXT_BYTES
from ume_r1_rag.ingest.pipeline import ingest
from ume_r1_rag.ingest.plan import FilePlan, Plan, plan
from ume_r1_rag.ingest.prune import prune
from ume_r1_rag.ingest.reindex import ReindexReport, reindex, swap
from ume_r1_rag.ingest.removal import Removal, remove
from ume_r1_rag.ingest.report import Failure, IngestReport, Progress, Pruned, Skipped
from ume_r1_rag.ingest.segments import SEGMENT_S
from ume_r1_rag.ingest.sources import documents, reread

__all__ = [
    "MAX_TEXT_BYTES",
    "SEGMENT_S",
    "TEXT_SUFFIXES",
    "Agreement",
    "DeadLetters",
    "EnrichReport",
    "Enricher",
    "Estimate",
    "Failure",
    "FilePlan",
    "IngestReport",
    "Plan",
    "Progress",
    "Pruned",
    "Question",
    "ReindexReport",
    "Removal",
    "Skipped",
    "Source",
    "Walk",
    "compare",
    "documents",
    "enrich",
    "estimate",
    "ingest",
    "plan",
    "prune",
    "read_questions",
    "reindex",
    "remove",
    "reread",
    "swap",
]
