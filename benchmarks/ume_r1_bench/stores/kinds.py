"""Kinds: the searches that are measured."""

from __future__ import annotations

from typing import Final, Literal, get_args

Kind = Literal["disc", "gen", "text", "convex", "rrf", "dbsf", "grouped", "filtered", "batch"]
"""By one space; three spaces fused in each of three ways; and by disc: files, a tenth of the points, several
queries at once."""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

FUSED: Final[tuple[Kind, ...]] = ("convex", "rrf", "dbsf")

K: Final = 10
"""Hits of a search; grouped, files."""

DEPTH: Final = 100
"""Candidates of each space in a fused search."""

BATCH: Final = 16
"""Queries of a batch."""
