"""``ume-r1 serve``: the encoder, and an index if there is one, over HTTP."""

from __future__ import annotations

import ipaddress
import signal
import socket
import sys
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ume_r1_rag.cli.options import (
    DEFAULT_COLLECTION,
    BackendOption,
    CollectionOption,
    EngineOption,
    PresetName,
    TenantOption,
    ThinkOption,
    UrlOption,
    budget,
)
from ume_r1_rag.cli.screen import clean
from ume_r1_rag.errors import ConfigError
from ume_r1_rag.types import Think

if TYPE_CHECKING:
    from ume_r1_rag.cli.model import LoadedEncoder, Running
    from ume_r1_rag.cli.store import Address
    from ume_r1_rag.retriever import Retriever
    from ume_r1_rag.server import ServerLimits

EXAMPLES = """\b
Examples:
  ume-r1 serve nano                                # /v1/embeddings at http://127.0.0.1:8000
  ume-r1 serve --index my-index                    # and /v1/search, with the collection's model
  ume-r1 serve --search --collection papers        # of the Qdrant server in QDRANT_URL
  ume-r1 serve zhibinlan/UME-R1-2B --host 0.0.0.0  # with a key in UME_R1_API_KEY
"""


def serve(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help='"nano", a folder, a Hugging Face id or id@commit; st:… for sentence-transformers. Default: '
            "the one the collection names, else UME_R1_MODEL, else zhibinlan/UME-R1-2B.",
            show_default=False,
        ),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option("--index", metavar="DIR", help="Index folder to be searched.", show_default=False),
    ] = None,
    url: UrlOption = None,
    search: Annotated[
        bool,
        typer.Option("--search", help="Also search the index that UME_R1_PATH or QDRANT_URL names."),
    ] = False,
    collection: CollectionOption = DEFAULT_COLLECTION,
    tenant: TenantOption = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen at; other than loopback needs an API key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535)] = 8000,
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key",
            envvar="UME_R1_API_KEY",
            help="Bearer token that requests must carry. Rather in the environment: others see flags.",
            show_default=False,
        ),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen beyond loopback without a key: anyone may ask.")
    ] = False,
    think: ThinkOption = None,
    preset: Annotated[
        PresetName | None,
        typer.Option(
            "--preset", envvar="UME_R1_PRESET", help="Protocol. Default: the collection's, else serving."
        ),
    ] = None,
    backend: BackendOption = "auto",
    engine: EngineOption = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Inputs in one batch.")] = 32,
    queue: Annotated[
        int,
        typer.Option("--queue", min=1, help="Texts, pictures and videos accepted at a time; more: 503."),
    ] = 512,
    max_body_mb: Annotated[int, typer.Option("--max-body-mb", min=1, help="Largest request.")] = 64,
    name: Annotated[
        str | None,
        typer.Option("--name", help="What the model is called.", show_default="as in its fingerprint"),
    ] = None,
    grace_s: Annotated[
        int, typer.Option("--grace", metavar="SECONDS", min=0, help="For answers under way, on shutdown.")
    ] = 30,
) -> None:
    """Serve embeddings, and searches of an index, in OpenAI's shape.

    POST /v1/embeddings, /v1/search; GET /v1/models, /health, /metrics, /openapi.json. URLs in requests are
    fetched only with UME_R1_ALLOW_FETCH=1, and never from private addresses. A folder is held while it is
    served: other processes cannot open it.
    """
    local = _is_loopback(host)
    if not local and not api_key and not insecure:
        raise typer.BadParameter(
            f"{host!r} can be reached by others: set UME_R1_API_KEY, or say --insecure", param_hint="'--host'"
        )
    if index is not None and url is not None:
        raise typer.BadParameter("--index and --url are each a place: give one of them")
    from ume_r1_rag.cli.model import needs, running
    from ume_r1_rag.cli.store import Address

    thinking, how = budget(think), running(backend, engine)
    with needs("serve"), ExitStack() as stack, _bound(host, port) as listener:
        from ume_r1_rag.server import create_app

        limits = _limits(queue, max_body_mb)
        address = Address(index, url, collection, tenant)
        searched = index is not None or url is not None or search
        encoder, retriever = _opened(
            stack, address if searched else None, model, thinking, preset, batch_size, how, limits
        )
        app = create_app(
            encoder,
            retriever,
            name=name,
            api_key=api_key or None,
            limits=limits,
            local_only=local and not api_key and not insecure,
        )
        # Who reads that it serves may ask at once; uvicorn takes some moments more to do so itself.
        listener.listen(2048)
        at = f"[{host}]" if ":" in host else host
        what = _what(clean(app.state.name), encoder, retriever)
        typer.echo(f"serving {what} at http://{at}:{listener.getsockname()[1]}", err=True)
        _run(app, listener, limits, grace_s)


def _limits(queue: int, max_body_mb: int) -> ServerLimits:
    from ume_r1_rag.server import ServerLimits

    body = max_body_mb << 20
    bodies = max(ServerLimits().bodies_bytes, 2 * body)
    limits = ServerLimits(body_bytes=body, bodies_bytes=bodies, queue=queue)
    return replace(limits, media=replace(limits.media, max_data_url_bytes=body))


def _opened(
    stack: ExitStack,
    address: Address | None,
    model: str | None,
    think: Think | None,
    preset: str | None,
    batch_size: int,
    how: Running,
    limits: ServerLimits,
) -> tuple[LoadedEncoder, Retriever | None]:
    """Returns the encoder, and what searches if there is an index; they are closed with the stack."""
    from ume_r1_rag.cli.model import encoder_for, load_encoder
    from ume_r1_rag.cli.store import open_index
    from ume_r1_rag.retriever import Retriever

    if address is None:
        protocol, budget_of_gen = preset or "serving", think or "full"
        encoder: LoadedEncoder = load_encoder(
            model, protocol, budget_of_gen, None, batch_size, how, media_limits=limits.media
        )
        stack.callback(encoder.close)
        return encoder, None
    found = stack.enter_context(open_index(address))
    encoder = encoder_for(found.fingerprint, model, think, preset, batch_size, how, media_limits=limits.media)
    stack.callback(encoder.close)
    return encoder, Retriever(encoder, found)


def _what(name: str, encoder: LoadedEncoder, retriever: Retriever | None) -> str:
    """Returns what is served, in words."""
    what = f"{name} with {', '.join(encoder.spaces)}"
    if retriever is None:
        return what
    searched = retriever.index
    whose = f" ({clean(searched.tenant)}'s)" if searched.tenant else ""
    return f"{what} and {searched.count()} documents of {clean(searched.collection)}{whose}"


def _run(app: Any, listener: socket.socket, limits: ServerLimits, grace_s: int) -> None:
    """Serves until a signal says that it is enough, and what is under way is answered."""
    import uvicorn

    from ume_r1_rag.server import bounded_protocol

    config = uvicorn.Config(
        app,
        http=bounded_protocol(limits.header_s),
        # Connections, idle ones too: far more than can be worked on, and not without end.
        limit_concurrency=4 * limits.queue + 64,
        timeout_graceful_shutdown=grace_s,
        server_header=False,
    )
    # uvicorn lets answers finish and then raises the signal again; the index is to be closed after that.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])


def _bound(host: str, port: int) -> socket.socket:
    """Returns a socket that is bound, but does not listen yet: before a model is loaded in vain.

    Raises:
        ConfigError: the address is not this machine's, or taken.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise ConfigError(
            f"cannot listen at {host}:{port} ({error.strerror}): is the port taken? Give another --port"
        ) from error
    return listener


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
