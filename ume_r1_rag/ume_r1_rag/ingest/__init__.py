"""Ingestion: folders become documents, documents become points."""

from ume_r1_rag.ingest.agreement import Agreement, Answers, agreement, ask, compare
from ume_r1_rag.ingest.dry_run import DryRun, FileDryRun, dry_run
from ume_r1_rag.ingest.enrich import Enricher, EnrichReport, enrich
from ume_r1_rag.ingest.estimate import Estimate, estimate
from ume_r1_rag.ingest.failures import DeadLetters
from ume_r1_rag.ingest.files import TEXT_SUFFIXES, Source, Walk
from ume_r1_rag.ingest.opened import MAX_TEXT_BYTES
from ume_r1_rag.ingest.pipeline import ingest
from ume_r1_rag.ingest.prune import prune
from ume_r1_rag.ingest.reindex import ReindexReport, reindex, swap
from ume_r1_rag.ingest.removal import Removal, remove
from ume_r1_rag.ingest.report import Failure, IngestReport, Progress, Pruned, Skipped
from ume_r1_rag.ingest.rollback import RollbackLoss, rollback_loss
from ume_r1_rag.ingest.segments import SEGMENT_S
from ume_r1_rag.ingest.sources import documents, reread

__all__ = [
    "MAX_TEXT_BYTES",
    "SEGMENT_S",
    "TEXT_SUFFIXES",
    "Agreement",
    "Answers",
    "DeadLetters",
    "DryRun",
    "EnrichReport",
    "Enricher",
    "Estimate",
    "Failure",
    "FileDryRun",
    "IngestReport",
    "Progress",
    "Pruned",
    "ReindexReport",
    "Removal",
    "RollbackLoss",
    "Skipped",
    "Source",
    "Walk",
    "agreement",
    "ask",
    "compare",
    "documents",
    "dry_run",
    "enrich",
    "estimate",
    "ingest",
    "prune",
    "reindex",
    "remove",
    "reread",
    "rollback_loss",
    "swap",
]
