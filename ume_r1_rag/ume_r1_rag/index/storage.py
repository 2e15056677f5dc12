"""Storage: how a server keeps the vectors, and what that takes in bytes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from ume_r1_rag.errors import ConfigError

if TYPE_CHECKING:
    from qdrant_client import models

logger = logging.getLogger(__name__)

_LINKS = 16
"""Qdrant's own ``m`` where none is given."""

_WARNED: set[Storage] = set()


@dataclass(frozen=True, slots=True)
class Storage:
    """How the vectors of a collection are kept. The defaults are Qdrant's own.

    Embedded Qdrant keeps float32 in memory and compares exactly, whatever is said here.

    Attributes:
        datatype: of the original vectors.
        quantization: a small copy that is searched first and stays in memory: ``"int8"`` (a quarter of
            float32) or ``"binary"`` (a thirty-second; for large D).
        rescore: whether the first of a quantized search are compared again by their originals.
        oversampling: how many times the wanted number are taken from the quantized search for that.
        on_disk: whether the originals and the words' index stay on disk.
        hnsw_m: links of a vector in the graph; 0 builds none.
        hnsw_ef_construct: candidates looked at when a vector is linked.
        hnsw_ef: candidates looked at by a search.
        shard_number: parts that a cluster spreads over its nodes.
        replication_factor: copies of each part.
    """

    datatype: Literal["float32", "float16"] = "float32"
    quantization: Literal["int8", "binary"] | None = None
    rescore: bool = True
    oversampling: float = 2.0
    on_disk: bool = False
    hnsw_m: int | None = None
    hnsw_ef_construct: int | None = None
    hnsw_ef: int | None = None
    shard_number: int | None = None
    replication_factor: int | None = None

    def __post_init__(self) -> None:
        """Refuses what no server would take."""
        if self.datatype not in ("float32", "float16"):
            raise ConfigError(f'datatype={self.datatype!r} is unknown: use "float32" or "float16"')
        if self.quantization not in (None, "int8", "binary"):
            raise ConfigError(f'quantization={self.quantization!r} is unknown: use "int8", "binary" or None')
        if not 1.0 <= self.oversampling <= 100.0:
            raise ConfigError(f"oversampling={self.oversampling}: give a factor from 1 to 100")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < least):
                raise ConfigError(f"{name}={value!r}: give a whole number of at least {least}, or None")

    @classmethod
    def from_metadata(cls, stored: Mapping[str, Any]) -> Storage:
        """Returns what a collection's metadata says."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in stored.items() if name in known})

    def to_metadata(self) -> dict[str, Any]:
        """Returns what is written into a collection's metadata."""
        return asdict(self)

    def fixed(self) -> dict[str, Any]:
        """Returns the part that is decided when a collection is made; the rest is each search's own."""
        return {name: value for name, value in asdict(self).items() if name not in _OF_SEARCH}

    def vector_params(self, dimension: int) -> models.VectorParams:
        """Returns the parameters of one space's vectors on a server."""
        from qdrant_client import models

        graph = None
        if self.hnsw_m is not None or self.hnsw_ef_construct is not None:
            graph = models.HnswConfigDiff(m=self.hnsw_m, ef_construct=self.hnsw_ef_construct)
        return models.VectorParams(
            size=dimension,
            distance=models.Distance.COSINE,
            datatype=models.Datatype.FLOAT16 if self.datatype == "float16" else None,
            # `memory=` says the same to servers from 1.18 on; older ones know this alone.
            on_disk=self.on_disk or None,
            hnsw_config=graph,
            quantization_config=self._quantization(),
        )

    def collection_options(self) -> dict[str, Any]:
        """Returns the options of ``create_collection`` on a server, the vectors' own apart."""
        return {"shard_number": self.shard_number, "replication_factor": self.replication_factor}

    def search_params(self, exact: bool = False) -> models.SearchParams | None:
        """Returns what a server must be told with a search, or None if nothing.

        Args:
            exact: compare with every original instead of walking the graph.
        """
        from qdrant_client import models

        if exact:
            ignore = models.QuantizationSearchParams(ignore=True) if self.quantization else None
            return models.SearchParams(exact=True, quantization=ignore)
        if self.quantization is None:
            return None if self.hnsw_ef is None else models.SearchParams(hnsw_ef=self.hnsw_ef)
        how = models.QuantizationSearchParams(
            rescore=self.rescore, oversampling=self.oversampling if self.rescore else None
        )
        return models.SearchParams(hnsw_ef=self.hnsw_ef, quantization=how)

    def bytes_per_point(
        self, dimension: int, *, spaces: int = 2, terms: int = 300, payload: int = 16_000
    ) -> PointBytes:
        """Returns what one point takes on a server, by arithmetic and without the store's own slack.

        Args:
            dimension: D.
            spaces: how many of disc and gen it has.
            terms: different words in its sparse vector.
            payload: bytes of its payload; the default is a page with text, reasoning and thumbnail.
        """
        originals = spaces * dimension * (2 if self.datatype == "float16" else 4)
        small = spaces * {None: 0, "int8": dimension + 4, "binary": (dimension + 7) // 8}[self.quantization]
        links = spaces * 2 * 4 * (_LINKS if self.hnsw_m is None else self.hnsw_m)
        words = 8 * terms  # an id and a weight each
        held = small + links + (0 if self.on_disk else originals + words)
        # The sparse vectors are kept twice: as they are, and turned round as an index.
        return PointBytes(disk=originals + small + links + 2 * words + payload, memory=held, payload=payload)

    def _quantization(self) -> models.QuantizationConfig | None:
        from qdrant_client import models

        if self.quantization == "int8":
            scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
            return models.ScalarQuantization(scalar=scalar)
        if self.quantization == "binary":
            return models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
        return None


@dataclass(frozen=True, slots=True)
class PointBytes:
    """What a point takes.

    Attributes:
        disk: bytes on disk, payload included.
        memory: bytes that a server wants to hold in memory.
        payload: the payload's part of ``disk``.
    """

    disk: int
    memory: int
    payload: int


_LEAST = {"hnsw_m": 0, "hnsw_ef_construct": 1, "hnsw_ef": 1, "shard_number": 1, "replication_factor": 1}
_OF_SEARCH = ("rescore", "oversampling", "hnsw_ef")


def warn_embedded(storage: Storage) -> None:
    """Logs, once for each setting, what embedded Qdrant will not do."""
    ignored = {
        field.name: getattr(storage, field.name)
        for field in fields(Storage)
        if getattr(storage, field.name) != field.default
    }
    if ignored and storage not in _WARNED:
        _WARNED.add(storage)
        logger.warning(
            "embedded Qdrant holds float32 in memory and compares exactly: it records %s and does without; "
            "a server (QDRANT_URL or url=) does it",
            ", ".join(f"{name}={value!r}" for name, value in ignored.items()),
        )
