"""``ume-r1 embed``: vectors of texts and files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ume_r1_rag.cli.options import (
    BackendOption,
    BaseUrlOption,
    CacheOption,
    EngineOption,
    JsonOption,
    ModelOption,
    PresetOption,
    ThinkOption,
    budget,
    check_target,
)
from ume_r1_rag.cli.screen import clean, columns, fit, to_json, wrap
from ume_r1_rag.errors import UmeR1Error
from ume_r1_rag.types import Embedding, Encoder, Mode

if TYPE_CHECKING:
    from ume_r1_rag.cli.model import LoadedEncoder

EXAMPLES = """\b
Examples:
  ume-r1 embed "a red circle" photo.jpg clip.mp4 --model nano
  ume-r1 embed "a red circle" --mode disc --json
  ume-r1 embed *.png --backend vllm --out vectors.npz       # docs/vllm.md
  ume-r1 embed *.png --think none --out vectors.npz
"""


def embed(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT", help="Texts and files.", show_default=False)
    ],
    mode: Annotated[
        Mode | None,
        typer.Option("--mode", help="Which vectors. Default: all that the model has.", show_default=False),
    ] = None,
    think: ThinkOption = None,
    model: ModelOption = None,
    base_url: BaseUrlOption = None,
    preset: PresetOption = "serving",
    cache: CacheOption = None,
    backend: BackendOption = "auto",
    engine: EngineOption = None,
    as_json: JsonOption = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE.npz", dir_okay=False, help="Write the vectors to a numpy archive."
        ),
    ] = None,
) -> None:
    """Embed texts, pictures and videos.

    Shows what the model thought, its summary and the cost; --json and --out give the vectors. An INPUT is a
    file if it ends like a picture or a video and there is such a file, a picture or a video if it is a URL,
    and a text otherwise. Inputs that fail are named, the others are embedded; the exit status is then 1.
    """
    thinking = budget(think) or "full"
    check_target(out, "--out")
    from ume_r1_rag.cli.model import cached, load_encoder, mode_for, remote_encoder, running

    run = running(backend, engine)
    for text in inputs:
        # By the library's rule this is text; that it was meant as one is unlikely enough for a word.
        if text.lower().endswith((".pdf", ".txt", ".md")) and Path(text).is_file():
            typer.echo(f"note: {clean(text)} is read as text; `ume-r1 index` reads such files", err=True)
    loaded: LoadedEncoder
    if base_url is None:
        loaded = load_encoder(model, preset, thinking, run=run)
    else:
        loaded = remote_encoder(base_url, model, budget(think), None if preset == "serving" else preset)
    with cached(loaded, cache) as encoder:
        found: list[Embedding | UmeR1Error] = encoder.encode_document(
            list(inputs), mode_for(mode, encoder), on_error="return"
        )
    pairs = list(zip(inputs, found, strict=True))
    for text, one in pairs:
        if isinstance(one, UmeR1Error):
            typer.echo(f"error: {fit(clean(text), 60)}: {clean(one)}", err=True)
    if out is not None:
        _save(out, [(text, one) for text, one in pairs if isinstance(one, Embedding)], encoder)
    if as_json:
        typer.echo(to_json([_as_dict(text, one) for text, one in pairs], indent=None))
    else:
        shown = [_report(text, one) for text, one in pairs if isinstance(one, Embedding)]
        typer.echo("\n\n".join(shown) + (f"\n\nwrote {out}" if out is not None else ""))
    if any(isinstance(one, UmeR1Error) for one in found):
        raise typer.Exit(1)


def _what(text: str) -> str:
    from ume_r1_rag.inputs import to_input

    item = to_input(text)
    return "image" if item.images else "video" if item.video is not None else "text"


def _report(text: str, one: Embedding) -> str:
    most = columns()
    tokens = one.tokens
    spaces = [f"{name} {len(v)}" for name, v in (("disc", one.disc), ("gen", one.gen)) if v is not None]
    lines = [
        fit(f"{clean(text)}  ({_what(text)})", most),
        f"  vectors    {', '.join(spaces)} dimensions",
    ]
    if tokens.prompt:
        counted = f"prompt {tokens.prompt}, of it visual {tokens.visual}, generated {tokens.completion}"
        lines.append(f"  tokens     {counted}")
    if one.gen is not None:
        valid = "valid" if one.gen_valid else f"flagged: {one.gen_issue}"
        lines.append(f"  generation {valid}, think {one.think}")
        lines.append("  summary    " + (clean(one.summary or "") or "-"))
        lines.append("  reasoning" if one.reasoning else "  reasoning  -")
    if one.reasoning:
        lines.append(wrap(clean(one.reasoning, lines=True), "    | ", most))
    return "\n".join(lines)


def _as_dict(text: str, one: Embedding | UmeR1Error) -> dict[str, Any]:
    if isinstance(one, UmeR1Error):
        return {"input": text, "error": str(one)}
    return {
        "input": text,
        "kind": _what(text),
        "disc": None if one.disc is None else one.disc.tolist(),
        "gen": None if one.gen is None else one.gen.tolist(),
        "summary": one.summary,
        "reasoning": one.reasoning,
        "gen_valid": one.gen_valid,
        "gen_issue": one.gen_issue,
        "think": one.think if one.gen is not None else None,
        "tokens": {
            "prompt": one.tokens.prompt,
            "visual": one.tokens.visual,
            "completion": one.tokens.completion,
        },
        "fingerprint": one.fingerprint,
    }


def _save(target: Path, pairs: Sequence[tuple[str, Embedding]], encoder: Encoder) -> None:
    """Writes one row for each input that was embedded; texts as fixed-width arrays, so without pickle."""
    import numpy as np

    arrays: dict[str, Any] = {
        "inputs": np.array([text for text, _ in pairs], dtype=np.str_),
        "summary": np.array([one.summary or "" for _, one in pairs], dtype=np.str_),
        "reasoning": np.array([one.reasoning or "" for _, one in pairs], dtype=np.str_),
        "gen_valid": np.array([bool(one.gen_valid) for _, one in pairs]),
        "fingerprint": np.array(json.dumps(dict(encoder.fingerprint))),
    }
    for name in ("disc", "gen"):
        rows = [vector for _, one in pairs if (vector := getattr(one, name)) is not None]
        if rows:
            arrays[name] = np.stack(rows)
    with target.open("wb") as file:
        np.savez_compressed(file, **arrays)
