"""Stock vLLM, which writes, with nothing of ours in it; and the official way, which encodes all again."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ume_r1_bench.speed.answer import Answer
from ume_r1_bench.speed.encoders import EncoderRunner
from ume_r1_bench.speed.way import Way
from ume_r1_rag.backends.base import Sampling

if TYPE_CHECKING:
    from ume_r1_rag.types import MultimodalInput


class StockRunner(EncoderRunner):
    """A plain ``vllm.LLM``, with the engine options that ours gets, beside our transformers backend."""

    def __init__(self, path: Path, vllm: Mapping[str, Any]) -> None:
        """Loads a checkpoint twice: vLLM writes, transformers encodes."""
        super().__init__(path)
        from ume_r1_rag.backends.vllm.options import VllmOptions
        from ume_r1_rag.backends.vllm.states import arguments

        options = VllmOptions.of(vllm)
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0" if arguments.runs_here(options) else "1"
        from vllm import LLM

        backend: Any = self.encoder.backend
        self._visual = backend.visual
        self._llm: Any = LLM(**arguments.common(path, options, backend.dtype, backend.visual))
        self._keys = itertools.count()

    def answer(
        self, way: Way, wave: Sequence[MultimodalInput], cap: int, watched: bool = True
    ) -> Iterator[Answer]:
        """Yields what vLLM wrote, with vectors of transformers in the official way; see ``Runner.answer``."""
        if not cap:
            yield from super().answer(way, wave, cap, watched)
            return
        written = self._write(wave, cap)
        if way == "plain":
            yield from written
            return
        done = sorted(written, key=lambda one: one.at)
        for one in self.encode(wave, [answer.ids for answer in done]):
            yield replace(one, decoded=done[one.at].decoded)

    def close(self) -> None:
        """Frees both."""
        self._llm.llm_engine.engine_core.shutdown()
        super().close()

    def _write(self, wave: Sequence[MultimodalInput], cap: int) -> Iterator[Answer]:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        from ume_r1_rag.backends.vllm.prepare import prepare

        backend, engine = self.encoder.backend, self._llm.llm_engine
        ends = backend.protocol["end_ids"]
        params = SamplingParams(
            temperature=0,
            max_tokens=cap,
            stop_token_ids=list(ends),
            ignore_eos=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        flying: dict[str, int] = {}
        for at, item in enumerate(wave):
            request = self.request(at, item, Sampling(cap))
            prepared = prepare(request, backend.prompt_tokenizer, self._visual, backend.max_length)
            key = str(next(self._keys))
            flying[key] = at
            engine.add_request(key, prepared.prompt(), params)
        while flying:
            for output in engine.step():
                if output.finished:
                    ids = tuple(output.outputs[0].token_ids)
                    kept = ids[:-1] if ids and ids[-1] in ends else ids
                    yield Answer(flying.pop(output.request_id), kept, len(ids))
