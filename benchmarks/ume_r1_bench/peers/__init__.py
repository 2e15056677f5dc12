"""Other models in the same run: sentence-transformers, CLIP, late interaction, embedding servers."""

from ume_r1_bench.peers.choice import open_peer
from ume_r1_bench.peers.peer import Peer, PeerVectors

__all__ = ["Peer", "PeerVectors", "open_peer"]
