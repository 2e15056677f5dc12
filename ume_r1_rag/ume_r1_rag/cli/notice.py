"""Notice: what a backend says of itself while a command runs, on stderr."""

from __future__ import annotations

import logging

import typer


class Notice(logging.Handler):
    """Writes a record as a line for people; to wherever stderr is when it comes."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one."""
        typer.echo(self.format(record), err=True)


def hear(name: str) -> None:
    """Shows what a logger and those below it say at INFO and above; a second call changes nothing."""
    logger = logging.getLogger(name)
    if not any(isinstance(one, Notice) for one in logger.handlers):
        logger.addHandler(Notice())
        logger.setLevel(logging.INFO)
