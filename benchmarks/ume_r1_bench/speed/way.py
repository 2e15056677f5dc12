"""Way: how a request becomes vectors, by name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final, Literal, get_args

Way = Literal["one-engine", "unwatched", "two-pass", "official", "transformers", "card", "mteb", "plain"]

WAYS: Final[tuple[Way, ...]] = get_args(Way)

RunnerName = Literal["one-engine", "two-pass", "transformers", "stock", "card", "mteb"]
"""What holds the model of one or more ways, in a process of its own."""

OURS: Final[Way] = "one-engine"
"""What all others are held against."""


@dataclass(frozen=True, slots=True)
class About:
    """What is to be known of a way.

    Attributes:
        shown: how a table calls it.
        told: what it does, in a line.
        runner: what runs it.
        needs: packages without which it is left out.
        disc: whether it gives disc; one that does not has no cell without tokens.
        states: whether it gives vectors at all.
    """

    shown: str
    told: str
    runner: RunnerName
    needs: tuple[str, ...] = ()
    disc: bool = True
    states: bool = True


ABOUT: Final[dict[Way, About]] = {
    "one-engine": About(
        "vLLM, one engine", "disc and gen of one request from the engine that writes", "one-engine", ("vllm",)
    ),
    "unwatched": About(
        "… without loop watch", "the same, not looking for loops in what is written", "one-engine", ("vllm",)
    ),
    "two-pass": About(
        "vLLM, two passes", "a second engine pools prompt and completion", "two-pass", ("vllm",)
    ),
    "official": About(
        "vLLM + re-encoding", "stock vLLM writes, transformers encodes all again", "stock", ("vllm",)
    ),
    "transformers": About("our transformers", "our transformers backend, batches of 32", "transformers"),
    "card": About("the card's loop", "generate with output_hidden_states, at its best batch size", "card"),
    "mteb": About(
        "mteb's wrapper", "gen alone; videos one by one, as it does", "mteb", ("mteb",), disc=False
    ),
    "plain": About(
        "vLLM, no states", "stock vLLM writes and nothing else", "stock", ("vllm",), disc=False, states=False
    ),
}


def left_out(ways: Iterable[Way]) -> dict[Way, str]:
    """Returns the ways whose packages are not installed, each with the package."""
    found: dict[Way, str] = {}
    for way in ways:
        missing = [name for name in ABOUT[way].needs if find_spec(name) is None]
        if missing:
            found[way] = f"{missing[0]} is not installed"
    return found
