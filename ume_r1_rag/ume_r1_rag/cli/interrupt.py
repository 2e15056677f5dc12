"""Interrupt: Ctrl-C as a question first, and as an order when it comes again."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

import typer


class Interrupt:
    """While in use, the first Ctrl-C is noted and answered with a line, the second interrupts.

    Outside of the main thread, where signals cannot be caught, it does nothing.
    """

    def __init__(self, notice: str) -> None:
        """Keeps the line that answers the first Ctrl-C."""
        self._notice = notice
        self._asked = False
        self._before: Any = None

    def asked(self) -> bool:
        """Returns whether Ctrl-C was pressed."""
        return self._asked

    def __enter__(self) -> Self:
        """Catches Ctrl-C."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *exc: object) -> None:
        """Lets it go again."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        typer.echo(f"\n{self._notice}", err=True)
