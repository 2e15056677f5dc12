"""The KV connector that keeps the hidden states at the markers of a finished request, and nothing else.

With ``extract_hidden_states`` vLLM stores the last layer's states beside the KV cache, page by page, so they
survive chunked prefill and come back with a prefix hit. When a request ends, the scheduler's side finds its
marker rows and the worker's side reads them from the pages and sends them to the client's ``Receiver``.

vLLM's own example connector writes every row to a file and locks it; it needs pinned memory, so a GPU.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from vllm.distributed.kv_transfer.kv_connector.v1.base import KVConnectorMetadata
from vllm.distributed.kv_transfer.kv_connector.v1.example_hidden_states_connector import (
    ExampleHiddenStatesConnector,
    extract_from_kv_cache,
)

from ume_r1_rag.backends.vllm.states import PARAMS
from ume_r1_rag.backends.vllm.states.receiver import connect
from ume_r1_rag.pooling import last_index

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass
class _Pending:
    """A finished request whose rows are to be sent.

    Attributes:
        request_id: vLLM's.
        key: ours.
        rows: space → position of its marker.
        block_ids: pages of the request.
    """

    request_id: str
    key: str
    rows: dict[str, int]
    block_ids: list[int]


@dataclass
class _Metadata(KVConnectorMetadata):  # type: ignore[misc]
    pending: list[_Pending] = field(default_factory=list)


def marker_rows(
    ids: Sequence[int], prompt_length: int, fed: int, disc_id: int, gen_id: int
) -> dict[str, int]:
    """Returns where the markers of a request stand that were fed to the model.

    Args:
        ids: prompt, forced and decoded tokens.
        prompt_length: the prompt's alone: it holds a literal ``<gen_emb>`` which is none.
        fed: how many of the ids have a state; the last one decoded has none.
        disc_id: id of ``<disc_emb>``.
        gen_id: id of ``<gen_emb>``.
    """
    rows = {}
    disc = last_index(ids[: min(prompt_length, fed)], disc_id)
    if disc is not None:
        rows["disc"] = disc
    gen = last_index(ids[prompt_length:fed], gen_id)
    if gen is not None:
        rows["gen"] = prompt_length + gen
    return rows


class MarkerStatesConnector(ExampleHiddenStatesConnector):  # type: ignore[misc]
    """Sends the marker rows of each finished request to the address in its configuration."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Reads ``address``, ``disc_id`` and ``gen_id`` of ``kv_connector_extra_config``."""
        super().__init__(*args, **kwargs)
        get = self._kv_transfer_config.get_from_extra_config
        self._address: str = get("address", "")
        self._ids: tuple[int, int] = (get("disc_id", -1), get("gen_id", -1))
        self._finished: list[_Pending] = []
        # The worker's side alone connects, in the process and thread that it works in.
        self._socket: Any = None
        self._copies: dict[str, tuple[_Pending, torch.Tensor, Any]] = {}

    # The scheduler's side

    def build_connector_meta(self, scheduler_output: Any) -> KVConnectorMetadata:
        """Hands what has finished to the worker's side."""
        pending, self._finished = self._finished, []
        return _Metadata(pending)

    def request_finished(self, request: Any, block_ids: list[int]) -> tuple[bool, dict[str, Any] | None]:
        """Notes a finished or aborted request's rows; True keeps its pages until they were read."""
        ours = (request.kv_transfer_params or {}).get(PARAMS)
        if ours is None:
            return False, None
        ids = list(request.all_token_ids)
        fed = min(len(ids) - 1, request.num_computed_tokens, len(block_ids) * self._block_size)
        rows = marker_rows(ids, ours["prompt_length"], fed, *self._ids)
        self._finished.append(_Pending(request.request_id, ours["key"], rows, list(block_ids)))
        return True, None

    # The worker's side

    def wait_for_save(self) -> None:
        """Does nothing: there are no files to be locked."""

    def get_finished(self, finished_req_ids: set[str]) -> tuple[set[str] | None, set[str] | None]:
        """Copies the rows of what has finished, sends what is copied; returns whose pages are free."""
        if not self._is_tp_rank_zero:
            return None, None
        metadata = self._get_connector_metadata() if self.has_connector_metadata() else None
        if isinstance(metadata, _Metadata):
            for pending in metadata.pending:
                self._copies[pending.request_id] = (pending, *self._copy(pending))
        done = {name for name, (_, _, event) in self._copies.items() if event is None or event.query()}
        for name in done:
            pending, states, _ = self._copies.pop(name)
            self._send(pending, states)
        return done or None, None

    def _copy(self, pending: _Pending) -> tuple[torch.Tensor, Any]:
        """Returns the rows on the host, and the event after which they are there, None for at once."""
        cache = self._kv_cache
        if not pending.rows:
            # Aborted before its markers.
            return torch.empty(0), None
        positions = torch.tensor(list(pending.rows.values()), dtype=torch.long)
        blocks = torch.tensor(pending.block_ids, dtype=torch.long)[positions // self._block_size]
        slots = (blocks * self._block_size + positions % self._block_size).to(cache.device, non_blocking=True)
        states = extract_from_kv_cache(cache, slots, len(positions)).flatten(1).float()
        if not states.is_cuda:
            return states, None
        # A few kilobytes behind the forward on its own stream; waiting here would stall the next step.
        host = torch.empty(states.shape, dtype=states.dtype, pin_memory=True)
        host.copy_(states, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        return host, event

    def _send(self, pending: _Pending, states: torch.Tensor) -> None:
        if self._socket is None:
            self._socket = connect(self._address)
        head = json.dumps({"key": pending.key, "rows": pending.rows}).encode()
        self._socket.send_multipart([head, states.contiguous().numpy().tobytes()])
