"""What ``ume-r1 search`` is given: questions, and options that hold a mapping."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from ume_r1_rag.cli.screen import clean
from ume_r1_rag.errors import InputError
from ume_r1_rag.inputs import to_input, to_query
from ume_r1_rag.media.mediatype import kind_of_name
from ume_r1_rag.retriever.options import SPACES
from ume_r1_rag.retriever.question import Question, read_questions
from ume_r1_rag.types import SearchSpace


def question(query: str, images: Sequence[str] | None, video: str | None) -> Question:
    """Returns the one question of a command line; its QUERY is always text.

    Raises:
        InputError: a file is absent or of another kind.
        typer.BadParameter: there is none.
    """
    if not query.strip() and not images and video is None:
        raise typer.BadParameter("give a QUERY, --image or --video, or --queries")
    if not images and video is None:
        kind = kind_of_name(query)
        if kind is not None and Path(query).exists():
            typer.echo(f"note: {clean(query)} was taken for a text; to ask with the file: --{kind}", err=True)
        return Question(to_query(query))
    given: dict[str, Any] = {"text": query or None, "image": list(images or ()) or None, "video": video}
    return Question(to_input({name: value for name, value in given.items() if value is not None}))


def questions(file: Path) -> list[Question]:
    """Returns the questions of a file, see :func:`ume_r1_rag.retriever.read_questions`.

    Raises:
        typer.BadParameter: there is none, or a line cannot be read.
    """
    try:
        found = list(read_questions(file))
    except InputError as error:
        raise typer.BadParameter(clean(error)) from error
    if not found:
        raise typer.BadParameter(f"there is no question in {clean(file)}")
    return found


def spaces(text: str | None) -> list[SearchSpace] | None:
    """Returns the spaces of ``disc,text``.

    Raises:
        typer.BadParameter: one is unknown, or there is none.
    """
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = [space for space in SPACES if space in names]
    if not known or set(names) - set(SPACES):
        raise typer.BadParameter(f"{text!r}: give one or more of {', '.join(SPACES)}, joined by commas")
    return known


def weights(text: str | None) -> dict[str, float] | None:
    """Returns the weights of ``disc=1,gen=2``.

    Raises:
        typer.BadParameter: a part is no ``SPACE=NUMBER``.
    """
    if text is None:
        return None
    found = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        try:
            found[name.strip()] = float(number)
        except ValueError:
            message = f"{text!r}: give SPACE=NUMBER,… such as disc=1,gen=2"
            raise typer.BadParameter(message) from None
    return found
