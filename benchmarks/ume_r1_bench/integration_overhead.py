"""What a framework's classes cost over the bare encoder and index: seconds for the same items, side by side.

    python -m ume_r1_bench.integration_overhead --items 1000

Half the items are pictures, half texts; disc mode; a new index each time, in memory and in a folder. The bare
way and each framework take turns; what is compared is the least time of each. The goal is a ratio of at most
1.10.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from ume_r1_rag.index import QdrantIndex
    from ume_r1_rag.types import Encoder

GOAL: Final = 1.10
BATCH: Final = 64

Item: TypeAlias = "Path | str"
Way: TypeAlias = "Callable[[Encoder, QdrantIndex, Sequence[Item]], None]"


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison.

    Attributes:
        way: which framework.
        place: where the index is: ``":memory:"`` or ``"path="``.
        items: how many were ingested.
        seconds: the framework's least time.
        bare_s: the least time without it.
    """

    way: str
    place: str
    items: int
    seconds: float
    bare_s: float

    @property
    def ratio(self) -> float:
        """How many times as long it took."""
        return self.seconds / self.bare_s


def bare(encoder: Encoder, index: QdrantIndex, items: Sequence[Item]) -> None:
    """Ingests with the encoder and the index alone."""
    from ume_r1_rag.template import INSTRUCTIONS
    from ume_r1_rag.types import Document, MultimodalInput

    shown = INSTRUCTIONS["image"].document
    for start in range(0, len(items), BATCH):
        documents = []
        for number, item in enumerate(items[start : start + BATCH], start):
            if isinstance(item, Path):
                seen = MultimodalInput(images=(item,), instruction=shown)
                documents.append(Document(f"item {number}", "image", seen, uri=str(item)))
            else:
                documents.append(Document(f"item {number}", "text", MultimodalInput(text=item), text=item))
        index.upsert(documents, encoder.encode_document([one.input for one in documents], "disc"))


def llama_index(encoder: Encoder, index: QdrantIndex, items: Sequence[Item]) -> None:
    """Ingests through LlamaIndex's pipeline, from nodes that are made on the way."""
    from llama_index.core.ingestion import IngestionPipeline
    from llama_index.core.schema import ImageNode, TextNode

    from llama_index.retrievers.ume_r1 import UmeR1IndexWriter

    nodes = [
        ImageNode(id_=f"item {number}", image_path=str(item))
        if isinstance(item, Path)
        else TextNode(id_=f"item {number}", text=item)
        for number, item in enumerate(items)
    ]
    writer = UmeR1IndexWriter(index, encoder, mode="disc", batch_size=BATCH)
    IngestionPipeline(transformations=[writer]).run(nodes=nodes)


def lang_chain(encoder: Encoder, index: QdrantIndex, items: Sequence[Item]) -> None:
    """Ingests through LangChain's store, the pictures and then the texts."""
    from langchain_ume_r1 import UmeR1Embeddings, UmeR1QdrantVectorStore

    store = UmeR1QdrantVectorStore(index=index, embedding=UmeR1Embeddings.from_encoder(encoder))
    pictures = [item for item in items if isinstance(item, Path)]
    texts = [item for item in items if not isinstance(item, Path)]
    store.add_images(pictures, batch_size=BATCH)
    store.add_texts(texts, batch_size=BATCH)


WAYS: Final[Mapping[str, Way]] = {"LlamaIndex": llama_index, "LangChain": lang_chain}
"""Each framework's way; another one is another function here."""


def measure(encoder: Encoder, items: int, repeats: int = 3, ways: Mapping[str, Way] = WAYS) -> list[Row]:
    """Returns a row for each framework and place.

    Args:
        encoder: what encodes.
        items: how many.
        repeats: runs of each way.
        ways: the frameworks.
    """
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        things = _make_items(folder, items)
        for way in (bare, *ways.values()):  # imports and first calls are nobody's overhead
            _timed(way, encoder, things[:2], ":memory:")
        for place in (":memory:", "path="):
            times: dict[str, list[float]] = {label: [] for label in ("bare", *ways)}
            for turn in range(repeats):
                every = list({"bare": bare, **ways}.items())
                for label, way in every if turn % 2 else reversed(every):  # nobody is always the first
                    where = place if place == ":memory:" else str(folder / f"{label}-{turn}")
                    times[label].append(_timed(way, encoder, things, where))
            rows += [Row(label, place, items, min(times[label]), min(times["bare"])) for label in ways]
    return rows


def _timed(way: Way, encoder: Encoder, items: Sequence[Item], place: str) -> float:
    from ume_r1_rag.index import QdrantIndex

    with QdrantIndex(place, fingerprint=encoder.fingerprint) as index:
        started = time.perf_counter()
        way(encoder, index, items)
        seconds = time.perf_counter() - started
        if index.count() != len(items):
            raise RuntimeError(f"{index.count()} of {len(items)} items were stored")
    return seconds


def _make_items(folder: Path, count: int) -> list[Item]:
    import random

    from PIL import Image

    rng = random.Random(0)
    items: list[Item] = []
    for number in range(count):
        if number % 2:
            items.append(f"note {number} of {rng.randrange(10**6)}")
            continue
        path = folder / f"{number}.png"
        Image.new("RGB", (112, 112), tuple(rng.randrange(256) for _ in range(3))).save(path)
        items.append(path)
    return items


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns 1 if the goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", default="nano")
    given = parser.parse_args(arguments)
    from ume_r1_rag import UmeR1Encoder

    with UmeR1Encoder(given.model) as encoder:
        rows = measure(encoder, given.items, given.repeats)
    print("| framework | index | items | bare s | with it s | ratio | goal |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        met = "met" if row.ratio <= GOAL else "MISSED"
        print(
            f"| {row.way} | {row.place} | {row.items} | {row.bare_s:.2f} | {row.seconds:.2f} | "
            f"{row.ratio:.3f} | {GOAL:.2f} {met} |"
        )
    return int(any(row.ratio > GOAL for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
