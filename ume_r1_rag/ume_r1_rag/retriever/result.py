"""SearchResult: the answer to one query, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ume_r1_rag.retriever.fusion import Fusion
    from ume_r1_rag.retriever.options import SearchMode
    from ume_r1_rag.types import Embedding, Hit, SearchSpace


FIELDS: Final = (
    *("kind", "title", "document", "uri", "page", "span_s", "summary", "reasoning", "gen_issue", "text"),
)
"""What is told of a hit in JSON, beside its scores: everything but the thumbnail and bookkeeping."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The answer to one query.

    Of a batch, the seconds are those of the whole batch in equal shares.

    Attributes:
        hits: best first; grouped, those of one file stand next to each other. ``score`` ranks them.
            ``scores`` holds the exact score in every space that ranked, as far as there is a vector; with gen
            but not disc among them, a hit that lacks gen has the disc score by which its gen was estimated.
        query_embedding: the query's embedding, without any vector if nothing was encoded; its reasoning and
            summary are untrusted text.
        mode: as it was asked.
        spaces: by which the hits are ranked.
        fusion: how the spaces were combined; None if there is only one.
        encode_s: seconds that encoding the query took.
        search_s: seconds that the index took.
        enriched: how many documents were given a gen vector during the call, for the whole batch.
        enrich_s: seconds that this took, which ``search_s`` does not hold.
    """

    hits: tuple[Hit, ...]
    query_embedding: Embedding
    mode: SearchMode
    spaces: tuple[SearchSpace, ...]
    fusion: Fusion | None
    encode_s: float
    search_s: float
    enriched: int = 0
    enrich_s: float = 0.0

    @property
    def groups(self) -> dict[str, tuple[Hit, ...]]:
        """The hits by the file that they are parts of, in the order of each file's best hit."""
        found: dict[str, list[Hit]] = {}
        for hit in self.hits:
            found.setdefault(hit.document or hit.key, []).append(hit)
        return {document: tuple(hits) for document, hits in found.items()}

    def as_dict(self) -> dict[str, Any]:
        """Returns the answer as in JSON, its texts as they are: untrusted."""
        query = self.query_embedding
        return {
            "mode": self.mode,
            "spaces": list(self.spaces),
            "fusion": self.fusion,
            "summary": query.summary,
            "reasoning": query.reasoning,
            "gen_valid": query.gen_valid,
            "gen_issue": query.gen_issue,
            "encode_s": round(self.encode_s, 4),
            "search_s": round(self.search_s, 4),
            "enriched": self.enriched,
            "enrich_s": round(self.enrich_s, 4),
            "hits": [
                {
                    "rank": rank,
                    "key": hit.key,
                    "id": hit.id,
                    "score": hit.score,
                    "scores": dict(hit.scores),
                    **{field: hit.payload.get(f"ume_{field}") for field in FIELDS},
                }
                for rank, hit in enumerate(self.hits, start=1)
            ],
        }
