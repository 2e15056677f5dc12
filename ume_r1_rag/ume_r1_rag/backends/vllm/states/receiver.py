"""How marker rows come from vLLM's workers to the client: a ZeroMQ socket in a folder of this user's."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

Rows: TypeAlias = "dict[str, tuple[int, npt.NDArray[np.float32]]]"
"""Space → position of its marker in the request's tokens, and the ``(D,)`` state there."""


def connect(address: str) -> Any:
    """Returns the socket by which a worker sends to a receiver."""
    import zmq

    socket: Any = zmq.Context.instance().socket(zmq.PUSH)
    # A worker must not stay alive for a client that is gone.
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(address)
    return socket


class Receiver:
    """Takes marker rows as they arrive, on a thread of its own.

    Attributes:
        address: to be given to the workers.
    """

    def __init__(self, take: Callable[[str, Rows], None]) -> None:
        """Starts to listen; ``take`` gets a request's key and rows."""
        import zmq

        self._folder = tempfile.mkdtemp(prefix="ume-r1-")
        self.address = f"ipc://{self._folder}/states"
        self._socket: Any = zmq.Context.instance().socket(zmq.PULL)
        self._socket.bind(self.address)
        self._take = take
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="ume-r1-states", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops to listen."""
        self._closing.set()
        self._thread.join()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _work(self) -> None:
        while not self._closing.is_set():
            if self._socket.poll(100):
                head, body = self._socket.recv_multipart()
                message = json.loads(head)
                states = np.frombuffer(body, np.float32).reshape(len(message["rows"]), -1) if body else ()
                found = {
                    space: (row, state)
                    for (space, row), state in zip(message["rows"].items(), states, strict=True)
                }
                self._take(message["key"], found)
        self._socket.close(linger=0)
