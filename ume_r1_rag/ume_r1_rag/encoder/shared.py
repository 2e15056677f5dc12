"""Shared encoders: who asks for the same model in the same way gets the one that is loaded already."""

from __future__ import annotations

import json
import os
import threading
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from ume_r1_rag.errors import ConfigError

if TYPE_CHECKING:
    from ume_r1_rag.encoder.encoder import UmeR1Encoder
    from ume_r1_rag.encoder.remote import RemoteEncoder
    from ume_r1_rag.encoder.sentence_transformers import SentenceTransformerEncoder

    Loaded = UmeR1Encoder | RemoteEncoder | SentenceTransformerEncoder

# Reentrant: a garbage collection may give a lease back while another one is being taken.
_GUARD = threading.RLock()

_OF_ST: Final = frozenset({"device", "revision", "batch_size", "fetcher"})
"""The options that a sentence-transformers model has, too."""

_OF_MODELS: Final = frozenset(
    (
        *("backend", "device", "dtype", "preset", "max_new_tokens", "revision", "batch_size"),
        *("fetcher", "media_limits", "vllm"),
    )
)
"""The options that the encoder of a server has not."""


@dataclass(slots=True)
class _Held:
    """One loaded encoder.

    Attributes:
        key: where it stands in ``_HELD``; None if it is not shared.
        encoder: the encoder, once it is loaded.
        users: how many leases there are.
        loading: held by who loads it.
    """

    key: tuple[int, str] | None
    encoder: Loaded | None = None
    users: int = 0
    loading: threading.Lock = field(default_factory=threading.Lock)


_HELD: dict[tuple[int, str], _Held] = {}
"""The encoders of this process (a fork has its own), by their options."""


class Lease:
    """A hold on an encoder that others may have, too; with the last one that is closed, the encoder is.

    A hold that is forgotten is given back by itself, but closes nothing.

    Attributes:
        encoder: the encoder.
    """

    def __init__(self, held: _Held, encoder: Loaded) -> None:
        """Counts itself; use :func:`share_encoder`."""
        self.encoder = encoder
        self._held = held
        self._dropped = weakref.finalize(self, _drop, held)

    def close(self) -> None:
        """Gives the encoder back; a second call does nothing."""
        if self._dropped.detach() is not None and (last := _leave(self._held)) is not None:
            last.close()

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Gives the encoder back."""
        self.close()


def share_encoder(
    model: str | None = None, *, base_url: str | None = None, api_key: str | None = None, **options: Any
) -> Lease:
    """Returns a hold on an encoder, loaded now or before by somebody else in this process.

    Encoders are the same if all options are. Ones with an option that is no plain value (a ``Preset``, a
    ``Fetcher``) are never shared.

    Args:
        model: as of ``UmeR1Encoder``, or ``st:…`` for a ``SentenceTransformerEncoder``.
        base_url: address of an ``ume-r1 serve`` whose encoder it is.
        api_key: of that server.
        **options: further ones of ``UmeR1Encoder`` or ``RemoteEncoder``.

    Raises:
        ConfigError: an option cannot work, or the model has no such option.
        CheckpointError: the model is absent or unusable.
        ServerUnavailable: the server cannot be reached.
    """
    asked = {"model": model, "base_url": base_url, "api_key": api_key, **options}
    if base_url is None and model is None:
        # What the name stands for may change while the process runs.
        asked["model"] = os.environ.get("UME_R1_MODEL") or None
    try:
        key: tuple[int, str] | None = (os.getpid(), json.dumps(asked, sort_keys=True))
    except (TypeError, ValueError):
        key = None
    with _GUARD:
        held = _Held(key) if key is None else _HELD.setdefault(key, _Held(key))
        held.users += 1
    try:
        with held.loading:  # who comes meanwhile waits, and does not load it twice
            if held.encoder is None:
                held.encoder = _load(asked)
            return Lease(held, held.encoder)
    except BaseException:
        _leave(held)
        raise


def _load(asked: dict[str, Any]) -> Loaded:
    given = {name: value for name, value in asked.items() if value is not None}
    model, base_url = given.pop("model", None), given.pop("base_url", None)
    if base_url is not None:
        from ume_r1_rag.encoder.remote import RemoteEncoder

        foreign = sorted(given.keys() & _OF_MODELS)
        if foreign:
            raise ConfigError(f"{', '.join(foreign)}: the server at base_url decides that, leave it out")
        return RemoteEncoder(base_url, model=model, **given)
    from ume_r1_rag.checkpoints import ST_PREFIX

    if str(model or "").startswith(ST_PREFIX):
        from ume_r1_rag.encoder.sentence_transformers import SentenceTransformerEncoder

        foreign = sorted(given.keys() - _OF_ST)
        if foreign:
            raise ConfigError(f"{', '.join(foreign)}: {model} has no such option, leave it out")
        return SentenceTransformerEncoder(str(model), **given)
    from ume_r1_rag.encoder.encoder import UmeR1Encoder

    return UmeR1Encoder(model, **given)


def _leave(held: _Held) -> Loaded | None:
    """Counts one user less, and returns the encoder that is to be closed, if that was the last one."""
    with _GUARD:
        held.users -= 1
        if held.users:
            return None
        if held.key is not None and _HELD.get(held.key) is held:
            del _HELD[held.key]
        last, held.encoder = held.encoder, None
        return last


def _drop(held: _Held) -> None:
    """Forgets what was forgotten, and leaves it open: somebody may use the encoder itself.

    With its last user a transformers model frees its memory; processes of vLLM stay until they are closed or
    this process ends.
    """
    _leave(held)
