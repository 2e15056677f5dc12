"""One call to a cached encoder: its distinct inputs, what is known of each, and where its answer goes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ume_r1_rag.cache.content import content_digest, reads_files
from ume_r1_rag.cache.store import Row
from ume_r1_rag.errors import UmeR1Error
from ume_r1_rag.types import (
    Embedding,
    Mode,
    MultimodalInput,
    OnError,
    Space,
    TokenCounts,
    answer,
    check_on_error,
    mode_of,
    spaces_of,
)

if TYPE_CHECKING:
    from ume_r1_rag.types import Vector


@dataclass(slots=True)
class Entry:
    """One distinct input of a call.

    Attributes:
        item: the input, or the error it failed with before.
        key: where its vectors lie; None if it cannot be kept.
        content: its digest.
        times: how often the call has it.
        found: its vectors.
        encoded: which of them were made in this call.
        error: why it could not be encoded.
    """

    item: MultimodalInput | UmeR1Error
    key: str | None
    content: str | None
    times: int = 0
    found: dict[Space, Row] = field(default_factory=dict)
    encoded: tuple[Space, ...] = ()
    error: UmeR1Error | None = None

    def is_unchanged(self) -> bool:
        """Returns whether the files that were encoded are still those that were looked up."""
        item = self.item
        if not isinstance(item, MultimodalInput) or not reads_files(item):
            return True
        return content_digest(item) == self.content


class Call:
    """One call: its distinct inputs, what is known of them, and where their answers go."""

    def __init__(self, mode: Mode, single: bool, options: Mapping[str, Any]) -> None:
        """Begins a call with the options that its caller gave.

        Raises:
            ConfigError: ``mode`` or ``on_error`` is unknown.
        """
        self.wanted, self.single = spaces_of(mode), single
        self._on_error: OnError = options.get("on_error", "raise")
        check_on_error(self._on_error)
        self.passed_on = {**options, "on_error": "return"}
        self.entries: dict[str, Entry] = {}
        self._order: list[Entry] = []
        self._alone: list[Entry] = []

    def add(self, item: MultimodalInput | UmeR1Error, key: str | None, content: str | None) -> None:
        """Takes the next input."""
        if key is None:
            entry = Entry(item, None, None, error=item if isinstance(item, UmeR1Error) else None)
            self._alone.append(entry)
        else:
            entry = self.entries.setdefault(key, Entry(item, key, content))
        entry.times += 1
        self._order.append(entry)

    def all_entries(self) -> list[Entry]:
        """Returns the distinct inputs, those that cannot be kept last."""
        return [*self.entries.values(), *self._alone]

    def groups(self) -> list[tuple[Mode, list[Entry]]]:
        """Returns what must be encoded, by the vectors that are lacking."""
        lacking: dict[Mode, list[Entry]] = {}
        for entry in self.all_entries():
            spaces = [space for space in self.wanted if space not in entry.found]
            if spaces and entry.error is None:
                lacking.setdefault(mode_of(spaces), []).append(entry)
        return list(lacking.items())

    def take(self, group: Sequence[Entry], results: Sequence[Embedding | UmeR1Error]) -> None:
        """Takes what the encoder made of a group."""
        for entry, result in zip(group, results, strict=True):
            if isinstance(result, UmeR1Error):
                entry.error = result
                continue
            rows = _rows(result)
            entry.encoded = tuple(rows)
            entry.found |= rows

    def answer(self) -> Any:
        """Returns the embeddings in the order of the inputs, as the encoder itself would.

        Raises:
            EncodeErrors: some failed, and errors were not asked for.
        """
        results: list[Embedding | UmeR1Error] = [
            entry.error if entry.error is not None else _embedding(entry.found, self.wanted)
            for entry in self._order
        ]
        return answer(results, single=self.single, on_error=self._on_error)


def _rows(made: Embedding) -> dict[Space, Row]:
    """Returns an embedding as rows: what belongs to the generation stands with gen alone."""
    rows: dict[Space, Row] = {}
    tokens = asdict(made.tokens)
    if made.disc is not None:
        rows["disc"] = Row(
            made.disc, None, {"tokens": {**tokens, "completion": 0}, "fingerprint": made.fingerprint}
        )
    if made.gen is not None:
        data = {
            "tokens": tokens,
            "fingerprint": made.fingerprint,
            "reasoning": made.reasoning,
            "summary": made.summary,
            "gen_valid": made.gen_valid,
            "gen_issue": made.gen_issue,
            "think": made.think,
            "completion_ids": list(made.completion_ids),
            "sample_texts": list(made.sample_texts),
        }
        rows["gen"] = Row(made.gen, made.gen_samples, data)
    return rows


def _embedding(rows: Mapping[Space, Row], wanted: Collection[Space]) -> Embedding:
    """Returns the embedding that an encoder gives for some spaces."""
    disc, gen = (rows[space] if space in wanted else None for space in ("disc", "gen"))
    # With both, gen's counts hold: its prompt is disc's.
    data = dict((gen or disc).data)  # type: ignore[union-attr]  # a mode wants at least one
    data["tokens"] = TokenCounts(**data["tokens"])
    data["completion_ids"] = tuple(data.get("completion_ids", ()))
    data["sample_texts"] = tuple((thought, said) for thought, said in data.get("sample_texts", ()))
    return replace(
        Embedding(disc=_copied(disc), gen=_copied(gen), gen_samples=gen.samples if gen else None), **data
    )


def _copied(row: Row | None) -> Vector | None:
    # Duplicates of one input must not share an array: a caller may write to what it gets.
    return None if row is None else row.vector.copy()
