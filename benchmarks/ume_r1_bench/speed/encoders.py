"""What this package runs: the backend behind ``UmeR1Encoder``, in each of its ways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ume_r1_bench.speed.answer import Answer
from ume_r1_bench.speed.runner import Runner
from ume_r1_bench.speed.way import Way
from ume_r1_rag.backends.base import Request, Sampling
from ume_r1_rag.encoder import UmeR1Encoder
from ume_r1_rag.errors import UmeR1Error
from ume_r1_rag.pooling import normalize

if TYPE_CHECKING:
    from ume_r1_rag.backends.base import Result
    from ume_r1_rag.types import MultimodalInput, Space

_BOTH: frozenset[Space] = frozenset({"disc", "gen"})
_DISC: frozenset[Space] = frozenset({"disc"})


class EncoderRunner(Runner):
    """An encoder's backend, at the encoder's defaults."""

    def __init__(self, path: Path, vllm: Mapping[str, Any] | None = None) -> None:
        """Loads a checkpoint: on transformers, or on vLLM with these options."""
        super().__init__()
        self.encoder = UmeR1Encoder(path, backend="transformers" if vllm is None else "vllm", vllm=vllm)

    def answer(
        self, way: Way, wave: Sequence[MultimodalInput], cap: int, watched: bool = True
    ) -> Iterator[Answer]:
        """Yields answers in the order in which they end; see ``Runner.answer``."""
        watch = self.encoder.preset.repetition if watched and way != "unwatched" else None
        how = Sampling(cap, repetition=watch)
        return self._run(self.request(at, item, how) for at, item in enumerate(wave))

    def replay(self, wave: Sequence[MultimodalInput], texts: Sequence[str]) -> Iterator[Answer]:
        """Yields vectors of forced completions; see ``Runner.replay``."""
        forced = [self.encoder.backend.prompt_tokenizer.completion_ids(text) for text in texts]
        return self.encode(wave, forced)

    def encode(
        self, wave: Sequence[MultimodalInput], completions: Sequence[tuple[int, ...]]
    ) -> Iterator[Answer]:
        """Yields both vectors of inputs with completions that are there already, in one forward."""
        return self._run(
            replace(self.request(at, item, Sampling()), want=_BOTH, replay_ids=ids)
            for at, (item, ids) in enumerate(zip(wave, completions, strict=True))
        )

    def request(self, at: int, item: MultimodalInput, how: Sampling) -> Request:
        """Returns what the backend takes of an input."""
        encoder = self.encoder
        wanted = _BOTH if how.max_new_tokens else _DISC
        return Request(str(at), encoder.prompt_ids(item), partial(encoder.load_media, item), wanted, how)

    def close(self) -> None:
        """Frees the model."""
        self.encoder.close()

    def _run(self, requests: Iterator[Request]) -> Iterator[Answer]:
        for name, outcome in self.encoder.backend.run(requests):
            if isinstance(outcome, UmeR1Error):
                raise outcome
            yield _answer(int(name), outcome)


def _answer(at: int, result: Result) -> Answer:
    disc, gen = (
        None if state is None else normalize(state) for state in (result.disc_state, result.gen_state)
    )
    return Answer(at, result.completion_ids, result.decoded_tokens, disc, gen)
