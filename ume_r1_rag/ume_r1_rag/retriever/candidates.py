"""Candidates: what an index finds for a query in each space, scored exactly in all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ume_r1_rag.errors import ConfigError
from ume_r1_rag.retriever.equating import equate
from ume_r1_rag.retriever.fusion import FUSIONS, ranked
from ume_r1_rag.types import SearchSpace

if TYPE_CHECKING:
    from ume_r1_rag.index import Filter, QdrantIndex
    from ume_r1_rag.retriever.options import Request
    from ume_r1_rag.types import Embedding, MultimodalInput, Vector


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
    """One query as the index is asked for it.

    Attributes:
        spaces: by which to rank; at least one.
        weights: a positive one for each of them.
        words: what the text space is asked for.
        embedding: with the vectors of the other spaces; None before encoding, or if text is the only one.
        item: what is to be encoded; None for an embedding made before.
    """

    spaces: tuple[SearchSpace, ...]
    weights: Mapping[str, float]
    words: str = ""
    embedding: Embedding | None = None
    item: MultimodalInput | None = None

    def query(self, space: SearchSpace) -> Vector | str:
        """Returns what to ask a space for.

        Raises:
            ConfigError: the embedding lacks that vector.
        """
        if space == "text":
            return self.words
        if self.embedding is None:
            raise ConfigError(f"the query has no {space} vector: encode it first")
        return self.embedding.vector(space)

    @property
    def stands_in(self) -> bool:
        """Whether disc is asked only to judge documents that lack gen."""
        return (
            "gen" in self.spaces
            and "disc" not in self.spaces
            and self.embedding is not None
            and self.embedding.disc is not None
        )

    @property
    def probes(self) -> tuple[SearchSpace, ...]:
        """The spaces that are searched, unless every document has gen: then nothing need be stood in for."""
        return (*self.spaces, "disc") if self.stands_in else self.spaces


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """What was found for one query.

    Attributes:
        scores: per space ``{point id: exact score}`` of the union of what the spaces found.
        estimates: gen scores of those without gen, where disc does not rank.
    """

    scores: Mapping[str, Mapping[str, float]]
    estimates: Mapping[str, float] = field(default_factory=dict)

    def ranking(self, ask: Ask, request: Request) -> dict[str, float]:
        """Returns the candidates best first, with the scores that rank them."""
        judged: dict[str, Mapping[str, float]] = {space: self.scores[space] for space in ask.spaces}
        if self.estimates:
            judged["gen"] = {**judged["gen"], **self.estimates}
        if len(ask.spaces) == 1:
            return ranked(judged[ask.spaces[0]])
        return FUSIONS[request.fusion](judged, ask.weights)


def gather(index: QdrantIndex, asks: Sequence[Ask], request: Request) -> list[Candidates]:
    """Returns the candidates of each query.

    Nearest neighbours of all queries and spaces come in one request (grouped: in one each); then, per query
    and space, the exact scores of what only another space found.
    """
    # No writer may come between the two: a document that loses its gen then would be invisible.
    with index.hold():
        covered = any(ask.stands_in for ask in asks) and index.covers("gen")
        spaces = [ask.spaces if covered else ask.probes for ask in asks]
        probes = [
            (ask.query(space), space) for ask, those in zip(asks, spaces, strict=True) for space in those
        ]
        # A single space is ranked as the store ranks it.
        depth = max(request.k if len(those) == 1 else request.depth for those in spaces)
        if request.group_by is None:
            found = index.nearest_batch(probes, depth, request.filter)
        else:
            found = [
                index.nearest_groups(query, space, depth, "document", request.group_size, request.filter)
                for query, space in probes
            ]
    lists = iter(found)
    # Fewer than were asked for are all that share a word.
    whole = depth if request.group_by is None else 0
    return [
        _exact(index, ask, {space: next(lists) for space in those}, request, whole)
        for ask, those in zip(asks, spaces, strict=True)
    ]


def _exact(
    index: QdrantIndex,
    ask: Ask,
    found: Mapping[SearchSpace, Mapping[str, float]],
    request: Request,
    whole: int,
) -> Candidates:
    """Returns the candidates of one query; a list of words that is shorter than ``whole`` is complete."""
    union = {id for ids in found.values() for id in ids}
    scores: dict[str, Mapping[str, float]] = {}
    for space in ask.spaces:
        missing = sorted(union - found[space].keys())
        rest: Mapping[str, float] = {}
        if space == "text" and len(found[space]) < whole:
            rest = dict.fromkeys(missing, 0.0)
        elif missing:
            rest = index.scores(ask.query(space), space, missing)
        scores[space] = {**found[space], **rest}
    if "gen" not in ask.spaces or "disc" in ask.spaces:
        return Candidates(scores)
    if not ask.stands_in:
        _refuse_to_hide(index, request.filter)
        return Candidates(scores)
    lacking = union - scores["gen"].keys()
    if not lacking:
        return Candidates(scores)
    others = sorted(lacking - found["disc"].keys())
    disc = {id: score for id, score in found["disc"].items() if id in lacking}
    disc |= index.scores(ask.query("disc"), "disc", others) if others else {}
    source, target = _reference(index, ask, found["gen"], request)
    return Candidates({**scores, "disc": disc}, equate(disc, source, target))


def _reference(
    index: QdrantIndex, ask: Ask, gen: Mapping[str, float], request: Request
) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """Returns the disc and gen scores of documents that have both: the first of either space, as many each.

    Taken from one side alone they would be chosen for being high there, and the other scale would seem low.
    """
    from qdrant_client import models

    from ume_r1_rag.index import to_filter

    given = to_filter(request.filter)
    limits: list[models.Condition] = [models.HasVectorCondition(has_vector="gen")]
    both = models.Filter(must=limits if given is None else [*limits, given])
    disc = index.nearest(ask.query("disc"), "disc", request.depth, both)
    source = {**disc, **index.scores(ask.query("disc"), "disc", sorted(gen.keys() - disc.keys()))}
    target = {**gen, **index.scores(ask.query("gen"), "gen", sorted(disc.keys() - gen.keys()))}
    return source, target


def _refuse_to_hide(index: QdrantIndex, filter: Filter) -> None:
    """Refuses to rank by gen without a disc vector where that would leave documents out."""
    if next(iter(index.lacking("gen", filter, limit=1)), None) is not None:
        raise ConfigError(
            "the query's embedding has no disc vector, by which the documents without gen could be judged: "
            'encode it with mode="both", or enrich the index first'
        )
