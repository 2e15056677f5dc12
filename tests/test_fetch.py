"""The guarded way to remote URLs, against a server on the loopback address."""

from __future__ import annotations

import http.server
import io
import socket
import threading
import time
from collections import Counter
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ume_r1_rag.errors import ConfigError, FetchError, InputError
from ume_r1_rag.media import fetch as fetch_module
from ume_r1_rag.media import load_image
from ume_r1_rag.media.fetch import Fetcher

_OUT = io.BytesIO()
Image.effect_noise((40, 30), 80).convert("RGB").save(_OUT, "PNG")
PNG = _OUT.getvalue()

REAL_LOOKUP = socket.getaddrinfo


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by path; every path that was asked for is counted, the headers of the last kept."""

    seen: ClassVar[Counter[str]] = Counter()
    last: ClassVar[dict[str, str]] = {}

    def do_GET(self):
        route, _, argument = self.path.strip("/").partition("/")
        Handler.seen[self.path] += 1
        Handler.last = dict(self.headers)
        getattr(self, f"answer_{route.partition('?')[0]}")(argument)

    def send(self, body, content_type="image/png", status=200, **headers):
        self.send_response(status)
        for name, value in {"Content_Type": content_type, "Content_Length": len(body), **headers}.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def answer_png(self, _):
        self.send(PNG)

    def answer_untyped(self, _):
        self.send(PNG, None)

    def answer_unmeasured(self, _):
        self.send(PNG, Content_Length=None)

    def answer_html(self, _):
        self.send(b"<html>secret page", "text/html")

    def answer_liar(self, _):
        self.send(b"<html>secret page" * 100)

    def answer_short(self, _):
        self.send(PNG[:-9], Content_Length=len(PNG))

    def answer_packed(self, _):
        self.send(PNG, Content_Encoding="gzip")

    def answer_large(self, _):
        self.send(PNG + bytes(100_000))

    def answer_endless(self, _):
        self.send(PNG, Content_Length=None)
        while True:
            self.wfile.write(bytes(10_000))

    def answer_drip(self, _):
        self.send(PNG, Content_Length=10**6)
        while True:
            self.wfile.write(b"\0")
            self.wfile.flush()
            time.sleep(0.02)

    def answer_slowhead(self, _):
        self.wfile.write(b"HTTP/1.0 200 OK\r\nX: ")
        while True:
            self.wfile.write(b"x")
            self.wfile.flush()
            time.sleep(0.02)

    def answer_status(self, status):
        self.send(b"", status=int(status))

    def answer_to(self, argument):
        self.send(b"", status=302, Location=argument.replace("~", "://", 1))

    def answer_loop(self, _):
        self.send(b"", status=307, Location="/loop")

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Clients that hang up in the middle are what is tested."""


@pytest.fixture(scope="module")
def server():
    instance = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=instance.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{instance.server_port}"
    instance.shutdown()
    instance.server_close()


@pytest.fixture(autouse=True)
def fresh():
    Handler.seen.clear()


@pytest.fixture
def names(monkeypatch):
    """Maps host names to a list of answers, one per look-up; numbers are left to the system."""
    table: dict[str, list[list[str]]] = {}
    asked: list[str] = []

    def lookup(host, port, *args, **kwargs):
        if host not in table:
            return REAL_LOOKUP(host, port, *args, **{**kwargs, "flags": socket.AI_NUMERICHOST})
        asked.append(host)
        answers = table[host]
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (address, port),
            )
            for address in found
        ]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    return table, asked


LOCAL = Fetcher(enabled=True, allow_private=True, timeout_s=5)


@pytest.mark.parametrize(
    "route", ["png", "untyped", "unmeasured", "png/caf\N{LATIN SMALL LETTER E WITH ACUTE}?a=1"]
)
def test_a_picture_arrives(server, route):
    assert LOCAL.fetch(f"{server}/{route}", "image") == PNG
    assert Handler.last["Accept-Encoding"] == "identity"
    assert load_image(f"{server}/png", fetcher=LOCAL).size == (40, 30)


def test_off_by_default_and_on_by_environment(server, monkeypatch):
    monkeypatch.delenv("UME_R1_ALLOW_FETCH", raising=False)
    for fetcher in (Fetcher(), Fetcher.from_env(), Fetcher(allow_private=True)):
        with pytest.raises(FetchError, match=r"UME_R1_ALLOW_FETCH=1.*Fetcher\(enabled=True\)"):
            fetcher.fetch(f"{server}/png", "image")
    monkeypatch.setenv("UME_R1_ALLOW_FETCH", "1")
    assert Fetcher.from_env().enabled
    with pytest.raises(FetchError, match="not a public address"):
        load_image(f"{server}/png")
    assert not Handler.seen


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.org/x.png",
        "//example.org",
        "http://",
        "http:///x",
        "http://[::1",
        "x.png",
        "http://user:secret@example.org/x.png",
        "http://example.org:99999/",
        "http://example.org/a b",
        "http://example.org/\r\nX: y",
        "gopher://x",
        "http://exa mple.org",
    ],
)
def test_urls_that_are_never_asked_for(url, names):
    with pytest.raises(FetchError) as caught:
        Fetcher(enabled=True, allow_private=True).fetch(url, "image")
    assert "secret" not in str(caught.value)


PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.2.1",
    "198.18.0.1",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%lo",
    "fc00::1",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "64:ff9b::a00:1",
    "64:ff9b:1::1",
    "2001:0:4136:e378:8000:63bf:f5ff:fffe",
    "junk",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused(address, names):
    names[0]["inside.example"] = [[address]]
    with pytest.raises(FetchError, match="not a public address"):
        Fetcher(enabled=True).fetch("http://inside.example/x.png", "image")


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_pass(address):
    assert fetch_module._is_public(address)


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_judged_as_the_one_it_carries(address):
    assert fetch_module._is_public(f"::ffff:{address}") == fetch_module._is_public(str(address))


@pytest.mark.parametrize(
    "host", ["127.1", "2130706433", "0x7f.0.0.1", "017700000001", "[::1]", "[::ffff:7f00:1]"]
)
def test_numbers_in_disguise(host):
    with pytest.raises(FetchError):
        Fetcher(enabled=True).fetch(f"http://{host}:9/x.png", "image")


def test_one_private_address_among_public_ones(names):
    names[0]["mixed.example"] = [["8.8.8.8", "10.0.0.1"]]
    with pytest.raises(FetchError, match=r"leads to 10\.0\.0\.1"):
        Fetcher(enabled=True).fetch("http://mixed.example/x.png", "image")


def test_rebinding_does_not_help(server, names, monkeypatch):
    """The name is looked up once, and the connection goes to the very address that was checked."""
    table, asked = names
    table["rebind.example"] = [["8.8.8.8"], ["127.0.0.1"]]
    connected = []

    def connect(address, timeout=None):
        connected.append(address)
        raise ConnectionRefusedError("no network in a test")

    monkeypatch.setattr(socket, "create_connection", connect)
    port = int(server.rpartition(":")[2])
    with pytest.raises(FetchError, match="ConnectionRefusedError"):
        Fetcher(enabled=True).fetch(f"http://rebind.example:{port}/png", "image")
    assert connected == [("8.8.8.8", port)]
    assert asked == ["rebind.example"]


def test_the_host_header_keeps_the_name(server, names):
    names[0]["named.example"] = [["127.0.0.1"]]
    port = server.rpartition(":")[2]
    assert LOCAL.fetch(f"http://named.example:{port}/png", "image") == PNG
    assert Handler.last["Host"] == f"named.example:{port}"


def test_the_next_address_is_tried(server, names):
    names[0]["twice.example"] = [["127.0.0.2", "127.0.0.1"]]  # nothing listens on the first
    assert LOCAL.fetch(f"http://twice.example:{server.rpartition(':')[2]}/png", "image") == PNG


def test_redirects_are_followed_and_limited(server):
    host = server.removeprefix("http://")
    assert LOCAL.fetch(f"{server}/to/http~{host}/png", "image") == PNG
    assert LOCAL.fetch(f"{server}/to//png", "image") == PNG
    with pytest.raises(FetchError, match="redirects more than 3 times"):
        LOCAL.fetch(f"{server}/loop", "image")
    assert Handler.seen["/loop"] == 4
    with pytest.raises(FetchError, match="redirects more than 0"):
        Fetcher(enabled=True, allow_private=True, max_redirects=0).fetch(f"{server}/to//png", "image")


def test_a_redirect_inside_is_refused(server, names, monkeypatch):
    """A public host that redirects to a private one: the second is checked like the first."""
    names[0]["public.example"] = [["127.0.0.1"]]
    names[0]["inside.example"] = [["10.0.0.1"]]
    monkeypatch.setattr(fetch_module, "_is_public", lambda address: address == "127.0.0.1")
    port = server.rpartition(":")[2]
    for target in ("inside.example/x.png", "192.168.0.1/x.png"):
        with pytest.raises(FetchError, match="not a public address"):
            Fetcher(enabled=True).fetch(f"http://public.example:{port}/to/http~{target}", "image")
    assert sum(Handler.seen.values()) == 2


def test_a_redirect_to_a_file_is_refused(server):
    with pytest.raises(FetchError, match="only http and https"):
        LOCAL.fetch(f"{server}/to/file~/etc/passwd", "image")


@pytest.mark.parametrize(
    ("route", "words"),
    [
        ("html", "'text/html', not image"),
        ("liar", "does not begin like any known image"),
        ("short", "broke off"),
        ("packed", "compressed"),
        ("status/404", "404"),
        ("status/500", "500"),
        ("status/304", "304"),
    ],
)
def test_what_is_no_picture(server, route, words):
    with pytest.raises(FetchError, match=words) as caught:
        LOCAL.fetch(f"{server}/{route}", "image")
    assert "secret page" not in str(caught.value)


def test_a_picture_is_no_video(server):
    with pytest.raises(FetchError, match="not video"):
        LOCAL.fetch(f"{server}/png", "video")
    with pytest.raises(FetchError, match="any known video format"):
        LOCAL.fetch(f"{server}/untyped", "video")


@pytest.mark.parametrize("route", ["large", "endless"])
def test_the_size_is_capped(server, route):
    with pytest.raises(FetchError, match="larger than 50000 bytes"):
        Fetcher(enabled=True, allow_private=True, max_bytes=50_000, timeout_s=5).fetch(
            f"{server}/{route}", "image"
        )


@pytest.mark.parametrize("route", ["drip", "slowhead"])
def test_the_whole_time_is_capped(server, route):
    start = time.monotonic()
    with pytest.raises(FetchError, match=r"longer than 0\.3 s"):
        Fetcher(enabled=True, allow_private=True, timeout_s=0.3).fetch(f"{server}/{route}", "image")
    assert time.monotonic() - start < 2


def test_a_slow_resolver_is_capped(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(3) or [])
    start = time.monotonic()
    with pytest.raises(FetchError, match="longer than"):
        Fetcher(enabled=True, timeout_s=0.1).fetch("http://slow.example/x.png", "image")
    assert time.monotonic() - start < 2


def test_network_failures_are_ours(server, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(FetchError, match="SSL"):
        LOCAL.fetch(server.replace("http://", "https://") + "/png", "image")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(FetchError, match="Name or service not known"):
        Fetcher(enabled=True).fetch("http://nowhere.example/x.png?token=abc", "image")
    assert issubclass(FetchError, InputError)


@pytest.mark.parametrize(
    "bad", [{"max_bytes": 0}, {"timeout_s": 0}, {"timeout_s": float("nan")}, {"max_redirects": -1}]
)
def test_impossible_limits(bad):
    with pytest.raises(ConfigError):
        Fetcher(enabled=True, **bad)
