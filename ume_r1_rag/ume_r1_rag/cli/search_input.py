"""What ``ume-r1 search`` is given: questions, and options that hold a mapping."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from ume_r1_rag.cli.screen import clean
from ume_r1_rag.cli.search_report import Question
from ume_r1_rag.errors import UmeR1Error
from ume_r1_rag.retriever.options import SPACES
from ume_r1_rag.types import SearchSpace


def question(query: str, images: Sequence[str] | None, video: str | None) -> Question:
    """Returns the one question of a command line; its QUERY is always text.

    Raises:
        InputError: a file is absent or of another kind.
        typer.BadParameter: there is none.
    """
    from ume_r1_rag.inputs import to_input, to_query

    if not query.strip() and not images and video is None:
        raise typer.BadParameter("give a QUERY, --image or --video, or --queries")
    files = [Path(name).name for name in (*(images or ()), *([video] if video else ()))]
    shown = clean(" + ".join(part for part in (query, *files) if part))
    if not files:
        return Question(shown, to_query(query))
    given: dict[str, Any] = {"text": query or None, "image": list(images or ()) or None, "video": video}
    return Question(shown, to_input({name: value for name, value in given.items() if value is not None}))


def questions(file: Path) -> list[Question]:
    """Returns the questions of a file, one a line.

    A line that starts with ``{`` is a JSON object with ``text``, ``image``, ``video``, ``instruction``;
    any other is a text. Empty lines are passed over.

    Raises:
        typer.BadParameter: there is none, or a line cannot be read.
    """
    from ume_r1_rag.inputs import to_query

    found = []
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{str(file)!r} cannot be read as UTF-8: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            asked = json.loads(line) if line.lstrip().startswith("{") else line.strip()
            found.append(Question(_shown(asked), to_query(asked)))
        except (json.JSONDecodeError, UmeR1Error) as error:
            raise typer.BadParameter(f"line {number} of {str(file)!r}: {clean(error)}") from error
    if not found:
        raise typer.BadParameter(f"there is no question in {str(file)!r}")
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


def _shown(asked: str | dict[str, Any]) -> str:
    if isinstance(asked, str):
        return clean(asked)
    files: list[Any] = []
    for name in ("image", "video"):
        given = asked.get(name)
        files += given if isinstance(given, list) else [given]
    names = [Path(str(file)).name for file in files if file is not None]
    return clean(" + ".join([*([asked["text"]] if asked.get("text") else []), *names]))
