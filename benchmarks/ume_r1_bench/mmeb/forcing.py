"""Forcing: gen vectors after a completion that was not the model's choice, and which completions to try.

What a gen vector owes to the thinking before it: the model's own summary stays, its reasoning is taken away
(``empty``), its words are shuffled (``shuffled``), or another query's takes its place (``foreign``). With the
budget ``none`` there is neither reasoning nor summary. The queries alone are changed, the candidates stay.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from ume_r1_rag.errors import BackendError, ConfigError, UmeR1Error
from ume_r1_rag.template import completion_text

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ume_r1_bench.mmeb.contents import Content
    from ume_r1_rag.types import Encoder

Change = Literal["empty", "shuffled", "foreign"]
CHANGES: Final[tuple[Change, ...]] = ("empty", "shuffled", "foreign")


def forced_key(key: str, completion: str) -> str:
    """Returns the key of a content's vector after a completion."""
    return hashlib.sha256(f"{key}\n{completion}".encode("utf-8", "surrogatepass")).hexdigest()


def changed(change: Change, rows: Mapping[str, Mapping[str, Any]], seed: int) -> dict[str, str]:
    """Returns a completion for each query whose generation is known.

    Args:
        change: what becomes of the reasoning.
        rows: key → ``reasoning`` and ``summary`` of its own generation.
        seed: of the shuffling, and of who gets whose.
    """
    keys = sorted(rows)
    random.Random(f"{seed}/foreign").shuffle(keys)
    following = dict(zip(keys, [*keys[1:], *keys[:1]], strict=True))
    out = {}
    for key, row in rows.items():
        reasoning = str(row.get("reasoning") or "")
        if change == "empty":
            reasoning = ""
        elif change == "shuffled":
            words = reasoning.split()
            random.Random(f"{seed}/{key}").shuffle(words)
            reasoning = " ".join(words)
        else:
            reasoning = str(rows[following[key]].get("reasoning") or "")
        out[key] = completion_text(reasoning, str(row.get("summary") or "").strip())
    return out


def check_forcible(encoder: Encoder) -> None:
    """Checks that an encoder runs a model whose words can be given to it.

    Raises:
        ConfigError: it is a server's, or of another kind.
    """
    if not all(hasattr(encoder, name) for name in ("backend", "prompt_ids", "load_media")):
        raise ConfigError("thinking can be changed in a local UME-R1 alone: leave the ablations out")


def force(encoder: Any, wanted: Sequence[tuple[Content, str]]) -> list[npt.NDArray[np.float32] | UmeR1Error]:
    """Returns ``(D,)`` gen vectors of contents at the end of given completions, errors in place.

    Raises:
        ConfigError: the encoder has no model of its own here that could be forced.
    """
    from ume_r1_rag.backends.base import Request, Sampling
    from ume_r1_rag.pooling import normalize

    check_forcible(encoder)
    tokens = encoder.backend.prompt_tokenizer
    out: dict[int, npt.NDArray[np.float32] | UmeR1Error] = {}
    requests = []
    for at, (content, completion) in enumerate(wanted):
        try:
            media = encoder.load_media(content.input)
        except UmeR1Error as error:
            out[at] = error
            continue
        ids = tokens.completion_ids(completion)
        prompt = encoder.prompt_ids(content.input)
        requests.append(Request(str(at), prompt, media, frozenset({"gen"}), Sampling(), ids))
    for name, outcome in encoder.backend.run(requests):
        if isinstance(outcome, UmeR1Error):
            out[int(name)] = outcome
        elif outcome.gen_state is None:
            out[int(name)] = BackendError("a forced <gen_emb> came back without a hidden state")
        else:
            out[int(name)] = normalize(outcome.gen_state)
    return [out[at] for at in range(len(wanted))]
