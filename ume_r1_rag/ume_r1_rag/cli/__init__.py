"""The command line, ``ume-r1``: one file per command. The only place that catches ``UmeR1Error``.

Modules import nothing heavy at their head, so that ``ume-r1 --help`` answers at once.
"""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Runs ``ume-r1`` and exits: 0 if all went well, 1 for an error, 2 for a wrong call."""
    from ume_r1_rag.cli.app import app

    app()
