"""Configuration: what is indexed, and by what a search ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ume_r1_rag.errors import ConfigError
from ume_r1_rag.retriever import SearchMode
from ume_r1_rag.types import Mode

Which = Literal["words", "main", "unthinking", "other"]
"""Which encoder: none, the model, the model with ``think="none"``, or another model."""

ST_PREFIX: Final = "st:"


@dataclass(frozen=True, slots=True)
class Configuration:
    """A way of retrieving.

    Attributes:
        name: as it is asked for.
        which: the encoder that it needs.
        index: the name of the index that it searches; several may share one.
        written: the vectors of that index.
        mode: by what a search ranks.
        told: what it is, in a few words.
    """

    name: str
    which: Which
    index: str
    written: Mode
    mode: SearchMode
    told: str


CONFIGURATIONS: Final = {
    one.name: one
    for one in (
        Configuration("bm25", "words", "words", "disc", "text", "BM25 over text layers and file names"),
        Configuration("disc", "main", "disc", "disc", "disc", "disc vectors"),
        Configuration("gen-none", "unthinking", "gen-none", "gen", "gen", 'gen vectors with think="none"'),
        Configuration("gen", "main", "gen", "both", "gen", "gen vectors, with reasoning"),
        Configuration("fused", "main", "gen", "both", "fused", "disc, gen and words fused"),
    )
}
"""By name. The words of ``fused`` are the text layer and what was reasoned about a page."""


def configurations(names: Sequence[str] = ()) -> list[Configuration]:
    """Returns configurations by name, ``st:MODEL`` among them; by default all but other models.

    Raises:
        ConfigError: there is no such configuration, or it is named twice.
    """
    found = []
    for name in names or tuple(CONFIGURATIONS):
        if name.startswith(ST_PREFIX) and len(name) > len(ST_PREFIX):
            safe = "".join(letter if letter.isalnum() else "-" for letter in name)
            found.append(Configuration(name, "other", safe[-80:], "disc", "disc", "another model"))
        elif name in CONFIGURATIONS:
            found.append(CONFIGURATIONS[name])
        else:
            known = ", ".join(CONFIGURATIONS)
            raise ConfigError(f"there is no configuration {name!r}: use some of {known} or {ST_PREFIX}MODEL")
    if len({one.name for one in found}) < len(found):
        raise ConfigError(f"configs={', '.join(one.name for one in found)}: each may be named once")
    return found
