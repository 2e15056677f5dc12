"""A request on its way through vLLM: what is known of it so far, and its one end."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ume_r1_rag.backends.base import Result
from ume_r1_rag.backends.vllm.completion import Completion
from ume_r1_rag.errors import BackendError, UmeR1Error

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

    from ume_r1_rag.backends.vllm.prepare import Prepared
    from ume_r1_rag.backends.vllm.states.receiver import Rows

    State = npt.NDArray[np.float32]

_numbers = itertools.count()


@dataclass(slots=True)
class Task:
    """A request under way.

    Attributes:
        prepared: the request.
        completion: what is decoded.
        deliver: gets the task once ``outcome`` is there, on any thread.
        key: unique in this process.
        states: raw states after the final norm, by space, as they arrive.
        outcome: the result or the error.
        ended: when its completion ended, by ``time.monotonic``.
    """

    prepared: Prepared
    completion: Completion
    deliver: Callable[[Task], None]
    key: str = field(default_factory=lambda: f"ume-r1-{next(_numbers)}")
    states: dict[str, State] = field(default_factory=dict)
    outcome: Result | UmeR1Error | None = None
    ended: float | None = None
    rows: Rows | None = None
    missing: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def ids(self) -> tuple[int, ...]:
        """Forced and decoded tokens."""
        return (*self.prepared.request.replay_ids, *self.completion.tokens)

    @property
    def disc_only(self) -> bool:
        """Whether one prefill of the prompt's beginning is all."""
        request = self.prepared.request
        return "gen" not in request.want and not request.sampling.max_new_tokens

    def fail(self, error: UmeR1Error) -> None:
        """Ends it with an error, unless it has ended."""
        self._end(error)

    def succeed(self) -> None:
        """Ends it with what was found."""
        prepared, completion = self.prepared, self.completion
        want = prepared.request.want
        disc = self.states.get("disc") if "disc" in want else None
        if "disc" in want and disc is None:
            self._end(
                BackendError("vLLM gave no state for <disc_emb>: please report this with `ume-r1 doctor`")
            )
            return
        self._end(
            Result(
                disc_state=disc,
                gen_state=self.states.get("gen") if "gen" in want else None,
                completion_ids=self.ids,
                finish=completion.finish or "replay",
                prompt_tokens=prepared.prompt_length,
                visual_tokens=prepared.visual_tokens,
                decoded_tokens=completion.decoded,
            )
        )

    def _end(self, outcome: Result | UmeR1Error) -> None:
        with self.lock:
            if self.outcome is not None:
                return
            self.outcome = outcome
        self.deliver(self)
