"""Which peer a word on the command line names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ume_r1_rag.errors import ConfigError

if TYPE_CHECKING:
    from ume_r1_bench.peers.peer import Peer

FORMS = """st:MODEL          a sentence-transformers model, multimodal or not
clip:MODEL        a two-tower model of transformers: CLIP, SigLIP, …
late:MODEL        a multi-vector model: ColPali, ColQwen2, ColBERT, …
openai:NAME@URL   a model behind an OpenAI-compatible server; its key in OPENAI_API_KEY"""
"""What may be said; MODEL is a folder, or a hub id at a full commit (owner/name@COMMIT)."""


def open_peer(spec: str, *, device: str | None = None) -> Peer:
    """Returns the model that ``spec`` names; see ``FORMS``.

    Raises:
        ConfigError: it has none of the forms.
        CheckpointError: there is no such model, or it is of another kind.
        MissingExtra: what would run it is not installed.
    """
    kind, colon, rest = spec.partition(":")
    if not (colon and rest):
        raise ConfigError(f"{spec!r} names no model. Use one of\n{FORMS}")
    # A table may be posted, and a folder's place is nobody's business.
    name = f"{kind}:{Path(rest).resolve().name}" if Path(rest).expanduser().is_dir() else spec
    if kind == "st":
        from ume_r1_bench.peers.encoder import EncoderPeer
        from ume_r1_rag.encoder import SentenceTransformerEncoder

        return EncoderPeer(SentenceTransformerEncoder(spec, device=device), name)
    if kind == "clip":
        from ume_r1_bench.peers.clip import ClipPeer

        return ClipPeer(rest, device=device, name=name)
    if kind == "late":
        from ume_r1_bench.peers.late import LatePeer

        return LatePeer(rest, device=device, name=name)
    if kind == "openai":
        from ume_r1_bench.peers.server import ServerPeer

        model, at, url = rest.rpartition("@")
        if not (at and model):
            raise ConfigError(f"{spec!r}: write openai:NAME@http://HOST:PORT/v1")
        return ServerPeer(url, model)
    raise ConfigError(f"{spec!r} names no model. Use one of\n{FORMS}")
