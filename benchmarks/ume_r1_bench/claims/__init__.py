"""Claims: what should be true of the real weights, written down before anyone here has run them."""

from ume_r1_bench.claims.claim import Check, Claim, Claims, Run, load_claims

__all__ = ["Check", "Claim", "Claims", "Run", "load_claims"]
