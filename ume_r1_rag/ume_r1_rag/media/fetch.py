"""The one way to remote URLs: off unless asked for, and never into the private network.

A URL in an input may come from a stranger who wants this machine to ask its neighbours. So every host is
resolved here, every address it has must be a public one, the connection is made to the very address that
was checked, and a redirect starts all of that again. Proxies from the environment are not used, since they
would resolve the host themselves; neither are credentials in URLs, cookies or compressed bodies.
"""

from __future__ import annotations

import http.client
import ipaddress
import os
import queue
import socket
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urljoin, urlsplit

from ume_r1_rag.describe import describe_url, shorten
from ume_r1_rag.errors import ConfigError, FetchError
from ume_r1_rag.media.mediatype import SNIFF_BYTES, content_type_fits, kinds_of_bytes

if TYPE_CHECKING:
    from ume_r1_rag.media.mediatype import MediaKind

_Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"

_ALLOW = "UME_R1_ALLOW_FETCH"
_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK = 64 << 10
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Gets pictures and videos over HTTP.

    Attributes:
        enabled: whether anything is fetched at all.
        max_bytes: most bytes of a body.
        timeout_s: seconds for one fetch altogether, names, redirects and body included.
        max_redirects: most redirects followed.
        allow_private: also connect to private, loopback and other addresses that are not public.
    """

    enabled: bool = False
    max_bytes: int = 64 << 20
    timeout_s: float = 20.0
    max_redirects: int = 3
    allow_private: bool = False

    def __post_init__(self) -> None:
        """Refuses limits under which nothing could be fetched."""
        if self.max_bytes < 1 or not self.timeout_s > 0 or self.max_redirects < 0:
            raise ConfigError(
                f"max_bytes={self.max_bytes}, timeout_s={self.timeout_s}, max_redirects={self.max_redirects}"
                ": the first two must be positive, the last at least 0"
            )

    @classmethod
    def from_env(cls) -> Fetcher:
        """Returns a fetcher that is enabled if ``UME_R1_ALLOW_FETCH`` is 1, true or yes."""
        return cls(enabled=os.environ.get(_ALLOW, "").strip().lower() in ("1", "true", "yes"))

    def fetch(self, url: str, kind: MediaKind) -> bytes:
        """Returns the body of a URL.

        Args:
            url: http or https.
            kind: what its content type must allow for and its first bytes must be.

        Raises:
            FetchError: fetching is off, the URL or an address is refused, the body is of another kind, too
                large or cut off, the time is over, or the network failed.
        """
        if not self.enabled:
            raise FetchError(
                f"{describe_url(url)} was not fetched, since fetching is off: set {_ALLOW}=1 or pass "
                "Fetcher(enabled=True), or download the file yourself"
            )
        deadline = time.monotonic() + self.timeout_s
        current = url
        for _ in range(self.max_redirects + 1):
            target = _Target.parse(current)
            try:
                body, location = self._get(target, kind, deadline)
            except (OSError, http.client.HTTPException, UnicodeError) as error:
                if _left(deadline) <= 0:
                    raise self._too_slow(current) from error
                raise FetchError(
                    f"{describe_url(current)} could not be fetched ({type(error).__name__}: "
                    f"{shorten(str(error))}): check the URL and the network"
                ) from error
            if location is None:
                return body
            current = urljoin(current, location)
        raise FetchError(
            f"{describe_url(url)} redirects more than {self.max_redirects} times: pass the final URL"
        )

    def _get(self, target: _Target, kind: MediaKind, deadline: float) -> tuple[bytes, str | None]:
        """Returns the body, or where the server redirects to."""
        addresses = self._addresses(target, deadline)
        connection = _Connection(target, addresses, deadline)
        # A timeout per read is not enough: a server that drips single bytes never exceeds it.
        watchdog = threading.Timer(max(_left(deadline), 0.0), connection.abort)
        watchdog.daemon = True
        watchdog.start()
        try:
            headers = {"User-Agent": "ume-r1-rag", "Accept": f"{kind}/*", "Accept-Encoding": "identity"}
            connection.request("GET", target.path, headers=headers)
            response = connection.getresponse()
            location = response.headers.get("Location")
            if response.status in _REDIRECTS and location:
                return b"", location
            return self._read(response, target, kind, deadline), None
        finally:
            watchdog.cancel()
            connection.close()

    def _read(
        self, response: http.client.HTTPResponse, target: _Target, kind: MediaKind, deadline: float
    ) -> bytes:
        name = describe_url(target.url)
        if response.status != 200:
            raise FetchError(
                f"{name} answered {response.status} {shorten(response.reason, 40)}: check the URL"
            )
        content_type = response.headers.get("Content-Type", "")
        if not content_type_fits(content_type, kind):
            raise FetchError(
                f"{name} is {shorten(content_type, 60)!r}, not {kind}: pass the media file's own URL"
            )
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise FetchError(
                f"{name} is sent compressed although that was not asked for: download it yourself"
            )
        promised = response.length  # None if the body is chunked or ends with the connection
        if promised is not None and promised > self.max_bytes:
            raise self._too_large(name)
        body = bytearray()
        while chunk := response.read1(_CHUNK):
            sniffed = len(body) >= SNIFF_BYTES
            body += chunk
            if len(body) > self.max_bytes:
                raise self._too_large(name)
            if not sniffed and len(body) >= SNIFF_BYTES:
                _check_bytes(body, name, kind)
            if _left(deadline) <= 0:
                break
        if _left(deadline) <= 0:
            raise self._too_slow(target.url)
        if promised is not None and len(body) < promised:
            raise FetchError(f"{name} broke off after {len(body)} of {promised} bytes: try again")
        _check_bytes(body, name, kind)
        return bytes(body)

    def _addresses(self, target: _Target, deadline: float) -> list[str]:
        """Returns the addresses of a host, all of them checked."""
        found = _resolve(target.host, target.port, _left(deadline))
        if found is None:
            raise self._too_slow(target.url)
        if not self.allow_private:
            refused = [address for address in found if not _is_public(address)]
            if refused:
                raise FetchError(
                    f"{describe_url(target.url)} leads to {refused[0]}, which is not a public address: "
                    "download the file yourself, or pass Fetcher(allow_private=True) if URLs can be trusted"
                )
        return found

    def _too_large(self, name: str) -> FetchError:
        return FetchError(
            f"{name} is larger than {self.max_bytes} bytes: download it yourself or raise "
            "Fetcher(max_bytes=...)"
        )

    def _too_slow(self, url: str) -> FetchError:
        return FetchError(
            f"{describe_url(url)} took longer than {self.timeout_s:g} s: try again or raise "
            "Fetcher(timeout_s=...)"
        )


@dataclass(frozen=True, slots=True)
class _Target:
    """A URL that may be asked for.

    Attributes:
        url: as it was given.
        secure: whether it is https.
        host: name or address, without brackets.
        port: the port.
        path: path and query.
    """

    url: str
    secure: bool
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> _Target:
        """Takes a URL apart.

        Raises:
            FetchError: it is neither http nor https, has no host, or holds credentials or control characters.
        """
        name = describe_url(url)
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise FetchError(f"{name} is no valid URL ({shorten(str(error), 60)}): check it") from error
        if parts.scheme not in ("http", "https"):
            raise FetchError(f"{name} has the scheme {parts.scheme!r}: only http and https are fetched")
        if not parts.hostname or any(ord(char) <= 32 or ord(char) == 127 for char in url):
            raise FetchError(f"{name} is no valid URL: it needs a host and no blanks or control characters")
        if "@" in parts.netloc:
            raise FetchError(f"{name} holds a user name or password: download the file yourself")
        secure = parts.scheme == "https"
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(url, secure, parts.hostname, port or (443 if secure else 80), _ascii(path))


class _Connection(http.client.HTTPConnection):
    """A connection to addresses that were checked before; the host's name is not looked up again."""

    def __init__(self, target: _Target, addresses: list[str], deadline: float) -> None:
        super().__init__(target.host, target.port)
        self.default_port = 443 if target.secure else 80
        self._target, self._addresses, self._deadline = target, addresses, deadline
        self._socket: socket.socket | None = None
        self._aborted = False

    def connect(self) -> None:
        """Connects to the first address that answers."""
        failure: OSError = OSError("no address")
        for address in self._addresses:
            try:
                plain = socket.create_connection((address, self.port), timeout=self._patience())
            except OSError as error:
                failure = error
                continue
            self._socket = self.sock = plain
            if self._target.secure:
                context = ssl.create_default_context()
                # The handshake comes after the socket is known to `abort`, which may have to end it.
                wrapped = context.wrap_socket(
                    plain, server_hostname=self._target.host, do_handshake_on_connect=False
                )
                self._socket = self.sock = wrapped
                wrapped.do_handshake()
            if self._aborted:
                raise TimeoutError("out of time")
            return
        raise failure

    def abort(self) -> None:
        """Ends the connection from another thread; whoever reads from it finds it closed."""
        self._aborted = True
        if self._socket is not None:
            with suppress(OSError):
                # The plain method: SSLSocket.shutdown drops its state under the reader's feet.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _patience(self) -> float:
        left = _left(self._deadline)
        if left <= 0:
            raise TimeoutError("out of time")
        return left


def _resolve(host: str, port: int, timeout_s: float) -> list[str] | None:
    """Returns the addresses of a host in the resolver's order, or None if it took too long."""
    answer: queue.SimpleQueue[list[str] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answer.put(list(dict.fromkeys(str(entry[4][0]) for entry in found)))
        except (OSError, UnicodeError) as error:
            answer.put(error)

    # getaddrinfo has no timeout; a thread can be left behind.
    threading.Thread(target=ask, daemon=True).start()
    try:
        result = answer.get(timeout=max(timeout_s, 0.001))
    except queue.Empty:
        return None
    if isinstance(result, Exception):
        raise result
    return result


def _is_public(address: str) -> bool:
    """Returns whether an address is a public unicast one, and whatever IPv4 address it carries as well."""
    try:
        found: _Address = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        carried = _carried(found)
        if carried is not None:
            return _is_public(str(carried))
        if found.is_site_local:
            return False
    return found.is_global and not (
        found.is_multicast or found.is_reserved or found.is_loopback or found.is_link_local
    )


def _carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Returns the IPv4 address that a mapped, 6to4, Teredo or NAT64 address leads to."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None


def _check_bytes(head: bytes | bytearray, name: str, kind: MediaKind) -> None:
    if kind not in kinds_of_bytes(bytes(head[:SNIFF_BYTES])):
        raise FetchError(f"{name} does not begin like any known {kind} format: pass the media file's own URL")


def _ascii(path: str) -> str:
    """Returns a path whose characters beyond ASCII are percent-encoded, as a request line needs it."""
    return "".join(
        char if char.isascii() else "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "replace"))
        for char in path
    )


def _left(deadline: float) -> float:
    return deadline - time.monotonic()
