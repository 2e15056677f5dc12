"""What a process of vLLM's does for the client that it belongs to: leaves Ctrl-C to it, and ends with it.

A terminal's Ctrl-C reaches all its processes, and an engine that ends by it drops what its client still means
to answer. A client that is killed cannot end its engine, which would keep the GPU.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait

_OURS = "UME_R1_VLLM_CLIENT"
"""Set in processes of an engine that a client of ours has started, so that no other engine changes."""

_GRACE_S = 10.0


@contextmanager
def marked() -> Iterator[None]:
    """Processes that are started within belong to this one."""
    os.environ[_OURS] = str(os.getpid())
    try:
        yield
    finally:
        os.environ.pop(_OURS, None)


def obey() -> None:
    """Ties this process to the one that started it, if it is an engine's of ours."""
    client = multiprocessing.parent_process()
    # vLLM loads plugins in the client, too, which may be somebody's child itself.
    if client is None or os.environ.get(_OURS, str(os.getpid())) == str(os.getpid()):
        return
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(client.sentinel,), name="ume-r1-client", daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_S)
    os._exit(1)
