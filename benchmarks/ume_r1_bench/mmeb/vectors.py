"""Vectors: everything that is to be encoded, encoded once and kept, so that a run can be stopped and go on.

Each content is asked for all that is missing of it in one call: disc, gen and samples come from one pass
through the prompt. What is kept of whom is the stores' business (``ume_r1_bench.encodings``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from tqdm import tqdm

from ume_r1_bench.encodings import EncodingStore
from ume_r1_bench.mmeb.contents import Content, Contents
from ume_r1_bench.mmeb.modes import Side
from ume_r1_rag.errors import ConfigError, UmeR1Error
from ume_r1_rag.types import INFORMATIVE_FIELDS, Embedding, Mode, spaces_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from ume_r1_rag.types import Encoder, Think

    Array = npt.NDArray[np.float32]

WINDOW: Final = 128
"""Contents of one call, and of one chunk on disk: what a kill can cost at most."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """Sampled generations beside the greedy one.

    Attributes:
        count: of one content.
        temperature: of sampling.
        seed: of sampling.
    """

    count: int
    temperature: float = 1.0
    seed: int = 0


@dataclass(slots=True)
class Vectors:
    """The vectors of contents, on disk.

    Attributes:
        encoder: what encodes.
        root: the folder of the stores.
        shard: which share of the contents this process encodes, ``(0, 1)`` for all.
        progress: whether to show bars.
        contents: what may be asked for.
        failures: key → what an encoder said of a content that it could not encode.
        encoded: contents that this process has encoded, by store.
    """

    encoder: Encoder
    root: Path
    shard: tuple[int, int] = (0, 1)
    progress: bool = False
    contents: Contents = field(default_factory=Contents)
    failures: dict[str, str] = field(default_factory=dict)
    encoded: dict[str, int] = field(default_factory=dict)
    _stores: dict[str, EncodingStore] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Notes whether the encoder tells queries from documents; UME-R1 does not."""
        self.contents.by_role = "preset" not in self.encoder.fingerprint

    # ---- stores

    def disc(self) -> EncodingStore:
        """Returns the store of disc vectors."""
        return self._store("disc", {"space": "disc"})

    def gen(self, think: Think, batch: int | None = None) -> EncodingStore:
        """Returns the store of greedy gen vectors; with ``batch``, of those made so many at a time."""
        about = {"space": "gen", "think": think} | ({"batch": batch} if batch else {})
        return self._store(f"gen-{think}" + (f"-batch{batch}" if batch else ""), about)

    def samples(self, think: Think, how: Sampled) -> EncodingStore:
        """Returns the store of sampled gen vectors, ``(K, D)`` a content."""
        about = {"temperature": how.temperature, "seed": how.seed, "samples": how.count}
        return self._store(f"samples-{think}", {"space": "gen", "think": think, **about})

    def forced(self, name: str, think: Think, seed: int) -> EncodingStore:
        """Returns the store of gen vectors after a completion that was put in the model's mouth."""
        return self._store(name, {"space": "gen", "think": think, "forced": name, "seed": seed})

    def store(self, side: Side) -> EncodingStore:
        """Returns the store of a side's vectors; an outside reasoning is part of the content, hence disc."""
        return self.gen(side.think) if side.way == "gen" else self.disc()

    def _store(self, name: str, about: Mapping[str, Any]) -> EncodingStore:
        if name not in self._stores:
            encoder = {
                field: value
                for field, value in self.encoder.fingerprint.items()
                if field not in INFORMATIVE_FIELDS | {"think"}
            }
            called = str(self.encoder.fingerprint.get("model") or "")
            whole = {"model": called, "encoder": encoder, **about}
            self._stores[name] = EncodingStore(self.root, name, whole)
        return self._stores[name]

    # ---- filling

    def fill(
        self, wanted: Mapping[str, Iterable[Side]], sampled: Mapping[str, Sampled] | None = None
    ) -> None:
        """Encodes what is missing.

        Args:
            wanted: key → the sides it is needed in.
            sampled: key → the samples that are needed, at the first think budget of its sides.
        """
        plans: dict[tuple[Mode, Think, Sampled | None], list[str]] = {}
        for key, sides in wanted.items():
            if self._mine(key):
                for plan in self._plans(key, list(sides), (sampled or {}).get(key)):
                    plans.setdefault(plan, []).append(key)
        total = sum(map(len, plans.values()))
        with tqdm(total=total, desc="encoding", unit="input", disable=not self.progress or not total) as bar:
            for (mode, think, how), keys in plans.items():
                for window in _windows(keys, WINDOW):
                    self._encode([self.contents.all[key] for key in window], mode, think, how)
                    bar.update(len(window))

    def fill_by(self, batch: int, think: Think, keys: Iterable[str]) -> None:
        """Encodes gen once more, ``batch`` contents at a time: rounding, and so words, may differ."""
        store = self.gen(think, batch)
        due = [key for key in dict.fromkeys(keys) if key not in store and self._mine(key)]
        bar = tqdm(total=len(due), desc=f"gen, {batch} at a time", disable=not self.progress or not due)
        with bar:
            for window in _windows(due, WINDOW):
                contents = [self.contents.all[key] for key in window]
                found: list[Embedding | UmeR1Error] = []
                for part in _windows(contents, batch):
                    found += self._ask(part, "gen", think, None)
                    bar.update(len(part))
                self._keep(store, contents, [_part(one, "gen") for one in found], found, "gen")

    def fill_forced(self, store: EncodingStore, wanted: Mapping[str, tuple[Content, str]]) -> None:
        """Encodes contents with completions that are put in the model's mouth, where a store lacks them."""
        from ume_r1_bench.mmeb.forcing import force

        due = [key for key in wanted if key not in store and self._mine(key)]
        with tqdm(total=len(due), desc=store.folder.name, disable=not self.progress or not due) as bar:
            for window in _windows(due, WINDOW):
                found = force(self.encoder, [wanted[key] for key in window])
                done = [
                    key for key, one in zip(window, found, strict=True) if not isinstance(one, UmeR1Error)
                ]
                self.failures |= {
                    key: str(one)
                    for key, one in zip(window, found, strict=True)
                    if isinstance(one, UmeR1Error)
                }
                if done:
                    kept = np.stack([one for one in found if not isinstance(one, UmeR1Error)])
                    store.put(done, kept, [{}] * len(done))
                bar.update(len(window))

    def matrix(self, store: EncodingStore, keys: Sequence[str]) -> Array:
        """Returns ``(N, D)`` vectors, or ``(N, K, D)``; a row of NaN for each key without one."""
        there = [key for key in dict.fromkeys(keys) if key in store]
        found = store.vectors(there)
        rows = {key: row for row, key in enumerate(there)}
        shape = found.shape[1:] if there else (self.encoder.dimension,)
        empty = np.full(shape, np.nan, np.float32)
        return np.stack([found[rows[key]] if key in rows else empty for key in keys])

    def has(self, key: str, side: Side) -> bool:
        """Returns whether there is a vector."""
        return key in self.store(side)

    def refresh(self) -> None:
        """Takes note of what other processes have encoded."""
        for store in self._stores.values():
            store.refresh()

    def why(self, key: str) -> str | None:
        """Returns why there is no vector of a content, if that is known."""
        return self.contents.unreadable.get(key) or self.failures.get(key)

    def _mine(self, key: str) -> bool:
        if key in self.contents.unreadable or key in self.failures:
            return False
        at, of = self.shard
        return of == 1 or int(key.rpartition("-")[2][:8], 16) % of == at

    def _plans(
        self, key: str, sides: Sequence[Side], how: Sampled | None
    ) -> Iterator[tuple[Mode, Think, Sampled | None]]:
        """Yields the calls that a content needs; the first one that generates gives disc as well."""
        budgets = list(dict.fromkeys(side.think for side in sides if side.way == "gen"))
        disc = any(side.way != "gen" for side in sides) and key not in self.disc()
        for number, think in enumerate(budgets):
            samples = how if how is not None and number == 0 and key not in self.samples(think, how) else None
            if key in self.gen(think) and samples is None:
                continue
            yield ("both" if disc else "gen"), think, samples
            disc = False
        if disc:
            yield "disc", "full", None

    def _encode(self, contents: Sequence[Content], mode: Mode, think: Think, how: Sampled | None) -> None:
        found = self._ask(contents, mode, think, how)
        for space in spaces_of(mode):
            store = self.disc() if space == "disc" else self.gen(think)
            self._keep(store, contents, [_part(one, space) for one in found], found, space)
        if how is not None:
            vectors = [_part(one, "samples") for one in found]
            self._keep(self.samples(think, how), contents, vectors, found, "samples")

    def _ask(
        self, contents: Sequence[Content], mode: Mode, think: Think, how: Sampled | None
    ) -> list[Embedding | UmeR1Error]:
        options: dict[str, Any] = {} if mode == "disc" else {"think": think}
        if how is not None:
            options |= {"num_samples": how.count, "temperature": how.temperature, "seed": how.seed}
        out: dict[str, Embedding | UmeR1Error] = {}
        for role, call in (("query", self.encoder.encode_query), ("document", self.encoder.encode_document)):
            those = [one for one in contents if one.role == role]
            if those:
                found = call([one.input for one in those], mode, on_error="return", **options)
                out |= {one.key: answer for one, answer in zip(those, found, strict=True)}
        return [out[one.key] for one in contents]

    def _keep(
        self,
        store: EncodingStore,
        contents: Sequence[Content],
        vectors: Sequence[Array | UmeR1Error],
        found: Sequence[Embedding | UmeR1Error],
        what: str,
    ) -> None:
        keys, kept, rows = [], [], []
        for content, vector, whole in zip(contents, vectors, found, strict=True):
            if isinstance(vector, UmeR1Error):
                self.failures[content.key] = str(vector)
                continue
            if content.key in store:
                continue
            keys.append(content.key)
            kept.append(vector)
            rows.append(_row(whole, what) if isinstance(whole, Embedding) else {})
        if keys:
            store.put(keys, np.stack(kept), rows)
            self.encoded[store.folder.name] = self.encoded.get(store.folder.name, 0) + len(keys)


def _part(one: Embedding | UmeR1Error, what: str) -> Array | UmeR1Error:
    if isinstance(one, UmeR1Error):
        return one
    vector = {"disc": one.disc, "gen": one.gen, "samples": one.gen_samples}[what]
    if vector is None:
        raise ConfigError(f"the encoder gave no {what} vector: ask only for what it has")
    return vector


def _row(one: Embedding, what: str) -> dict[str, Any]:
    """Returns what else is kept: what the model wrote, and what it cost."""
    if what == "samples":
        return {"texts": [list(text) for text in one.sample_texts]}
    if what == "disc":
        return {"prompt_tokens": one.tokens.prompt}
    return {
        "reasoning": one.reasoning,
        "summary": one.summary,
        "valid": one.gen_valid,
        "issue": one.gen_issue,
        "completion_tokens": one.tokens.completion,
        "prompt_tokens": one.tokens.prompt,
    }


def _windows(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
