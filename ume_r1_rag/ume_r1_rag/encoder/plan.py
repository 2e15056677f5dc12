"""What must be run for one input: first requests, then think budgets closed and cut-off generations mended.

An encoder runs rounds: the requests of a round go to the backend, every outcome is taken, and what it calls
for goes into the next round. Three rounds at most: think, go on, mend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ume_r1_rag.backends.base import Media, Request, Result, Sampling
from ume_r1_rag.errors import BackendError, UmeR1Error
from ume_r1_rag.pooling import gen_index, normalize
from ume_r1_rag.template import (
    NO_THINK_COMPLETION,
    THINK_CLOSE,
    THINK_OPEN,
    PromptTokenizer,
    parse,
    think_closed,
    well_formed,
)
from ume_r1_rag.types import Embedding, Mode, Think, TokenCounts, spaces_of

if TYPE_CHECKING:
    from ume_r1_rag.types import Space

CLOSE_THINKING = "</think><answer>"
"""Forced after the reasoning when its budget is spent."""

_ISSUES = {
    "length": "token limit",
    "repetition": "repetition",
    "stop": "missing marker",
    "replay": "token limit",
}


@dataclass(slots=True)
class Generation:
    """One completion on its way to a gen state.

    Attributes:
        base: the request as first sent.
        think: its budget.
        cap: tokens it may decode in all.
        result: the last result, final once ``done``.
        decoded: tokens decoded so far.
        issue: why it is not valid, or None.
        done: whether ``result`` has its gen state.
        thinking: whether its first pass, within a budget, is under way.
        mended: whether it was sent again with its marker forced.
    """

    base: Request
    think: Think
    cap: int
    result: Result | None = None
    decoded: int = 0
    issue: str | None = None
    done: bool = False
    thinking: bool = False
    mended: bool = False

    def first(self, tokens: PromptTokenizer) -> Request:
        """Returns the first request of this generation."""
        if self.think == "none":
            forced = tokens.completion_ids(NO_THINK_COMPLETION)
            return replace(
                self.base, replay_ids=forced, sampling=replace(self.base.sampling, max_new_tokens=0)
            )
        if isinstance(self.think, int) and self.think < self.cap:
            self.thinking = True
            # The opening tag is no thinking, so it does not count.
            opening = len(tokens.completion_ids(THINK_OPEN))
            cap = min(self.cap, self.think + opening)
            return replace(self.base, sampling=replace(self.base.sampling, max_new_tokens=cap))
        return self.base

    def take(self, result: Result, tokens: PromptTokenizer) -> Request | None:
        """Takes an outcome and returns the request that must follow, or None when all is done.

        Raises:
            BackendError: a forced marker came back without a state.
        """
        self.decoded += result.decoded_tokens
        if self.result is not None:
            # The disc state comes from the first pass; later passes see the same prompt.
            result = replace(result, disc_state=self.result.disc_state)
        self.result = result
        ended = gen_index(result.completion_ids, tokens.markers.gen) is not None
        if self.thinking and result.finish == "length" and not ended:
            self.thinking = False
            return self._close_thinking(result, tokens)
        if result.gen_state is not None:
            self.issue = self.issue or _flaw(result, tokens)
            self.done = True
            return None
        if self.mended:
            raise BackendError("a forced <gen_emb> came back without a hidden state: please report this")
        return self._mend(result, tokens)

    def _close_thinking(self, result: Result, tokens: PromptTokenizer) -> Request:
        replay = result.completion_ids
        if not think_closed(tokens.decode(replay)):
            replay = (*_without_torn_tag(replay, tokens), *tokens.completion_ids(CLOSE_THINKING))
        sampling = replace(self.base.sampling, max_new_tokens=self.cap - self.decoded)
        return replace(self.base, want=frozenset({"gen"}), replay_ids=replay, sampling=sampling)

    def _mend(self, result: Result, tokens: PromptTokenizer) -> Request:
        # Never the state of a pad or of whatever came last: the marker is put there and fed.
        self.mended = True
        ids, marker = result.completion_ids, tokens.markers.gen
        if gen_index(ids, marker) is None:
            self.issue = _ISSUES[result.finish]
            ids = (*ids, marker)
        sampling = replace(self.base.sampling, max_new_tokens=0)
        return replace(self.base, want=frozenset({"gen"}), replay_ids=ids, sampling=sampling)


def _flaw(result: Result, tokens: PromptTokenizer) -> str | None:
    """Returns what is wrong with a generation that has a marker of its own, or None."""
    # With the marker as its last word nothing of it was cut off.
    if result.finish in ("length", "repetition") and result.completion_ids[-1] != tokens.markers.gen:
        return _ISSUES[result.finish]
    return None if well_formed(tokens.decode(result.completion_ids)) else "format"


def _without_torn_tag(ids: tuple[int, ...], tokens: PromptTokenizer) -> tuple[int, ...]:
    """Drops a closing tag that the budget cut through, so that the thinking is closed once."""
    torn = tuple(THINK_CLOSE[:length] for length in range(1, len(THINK_CLOSE)))
    while tokens.decode(ids).endswith(torn):
        ids = ids[:-1]
    return ids


@dataclass(slots=True)
class Plan:
    """Everything that one input needs.

    Attributes:
        position: of the input in the call.
        error: what made it fail, or None.
    """

    position: int
    disc: Request | None = None
    generations: list[Generation] = field(default_factory=list)
    disc_result: Result | None = None
    error: UmeR1Error | None = None

    @classmethod
    def make(
        cls,
        position: int,
        prompt_ids: tuple[int, ...],
        media: Media | Callable[[], Media],
        mode: Mode,
        think: Think,
        sampling: Sampling,
        samples: tuple[Sampling, ...] = (),
    ) -> Plan:
        """Returns the plan of one input.

        Args:
            position: of the input.
            prompt_ids: its prompt.
            media: its visuals, loaded when their batch comes up.
            mode: which vectors.
            think: the budget of every generation.
            sampling: of the generation behind ``gen``.
            samples: of the further, sampled generations.
        """
        plan = cls(position)
        if mode == "disc":
            plan.disc = Request(f"{position}", prompt_ids, media)
            return plan
        gen_only: frozenset[Space] = frozenset({"gen"})
        for number, how in enumerate((sampling, *samples)):
            want = frozenset(spaces_of(mode)) if number == 0 else gen_only
            request = Request(f"{position}/{number}", prompt_ids, media, want, how)
            plan.generations.append(Generation(request, think, how.max_new_tokens))
        return plan

    def requests(self, tokens: PromptTokenizer) -> Iterator[Request]:
        """Yields the requests of the first round."""
        if self.disc is not None:
            yield self.disc
        for generation in self.generations:
            yield generation.first(tokens)

    def take(self, request_id: str, outcome: Result | UmeR1Error, tokens: PromptTokenizer) -> Request | None:
        """Takes one outcome and returns the request that must follow, if any."""
        if isinstance(outcome, UmeR1Error):
            self.error = self.error or outcome
            return None
        number = request_id.partition("/")[2]
        if not number:
            self.disc_result = outcome
            return None
        try:
            return self.generations[int(number)].take(outcome, tokens)
        except UmeR1Error as error:
            self.error = self.error or error
            return None

    def embedding(self, tokens: PromptTokenizer, fingerprint: str) -> Embedding:
        """Returns the finished embedding.

        Raises:
            BackendError: a state is missing or has no direction.
        """
        first = self.generations[0] if self.generations else None
        result = first.result if first else self.disc_result
        if result is None or any(not g.done for g in self.generations):
            raise BackendError(f"the backend gave no answer for input {self.position}: please report this")
        states = [g.result.gen_state for g in self.generations if g.result and g.result.gen_state is not None]
        try:
            disc = None if result.disc_state is None else normalize(result.disc_state)
            gen = normalize(states) if states else None
        except ValueError as error:
            raise BackendError(f"input {self.position}: {error}") from error
        text = parse(tokens.decode(result.completion_ids)) if first else None
        sampled = [parse(tokens.decode(g.result.completion_ids)) for g in self.generations[1:] if g.result]
        counts = TokenCounts(
            result.prompt_tokens, result.visual_tokens, sum(g.decoded for g in self.generations)
        )
        return Embedding(
            disc=disc,
            gen=None if gen is None else gen[0],
            gen_samples=gen[1:] if gen is not None and len(gen) > 1 else None,
            reasoning=text.reasoning if text else None,
            summary=text.summary if text else None,
            gen_valid=first.issue is None if first else None,
            gen_issue=first.issue if first else None,
            think=first.think if first else "full",
            tokens=counts,
            fingerprint=fingerprint,
            completion_ids=result.completion_ids if first else (),
            sample_texts=tuple((one.reasoning, one.summary) for one in sampled),
        )
