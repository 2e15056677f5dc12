"""A folder of PDFs, pictures and clips, asked through LlamaIndex; the answer names the pages it is read from.

    pip install "ume-r1-rag[transformers]" llama-index-llms-openai-like
    export LLM_BASE_URL=http://localhost:8001/v1 LLM_MODEL=Qwen/Qwen2.5-VL-7B-Instruct LLM_API_KEY=…
    python llama_index_rag.py papers "What was the rent of the harbor in 2019?"

Any endpoint of OpenAI's shape does whose model sees pictures, e.g. `vllm serve`. `UME_R1_MODEL=nano` tries
the rest without a GPU.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.llms.openai_like import OpenAILike

from llama_index.embeddings.ume_r1 import UmeR1Embedding
from llama_index.retrievers.ume_r1 import UmeR1IndexWriter, UmeR1Reader, UmeR1Retriever
from ume_r1_rag import QdrantIndex


def ingest(folder: Path, path: Path, embedding: UmeR1Embedding) -> int:
    """Indexes what is new or changed in a folder; returns how many pages, pictures and clips it holds."""
    encoder = embedding.encoder
    reader = UmeR1Reader(embed_model=embedding)
    with QdrantIndex(path, fingerprint=encoder.fingerprint) as index:
        # mode="disc" is quick; without it the model also reasons about every page, and finds more.
        pipeline = IngestionPipeline(transformations=[UmeR1IndexWriter(index, embedding, mode="disc")])
        nodes = pipeline.run(nodes=reader.load_nodes(folder))
    for failure in reader.failures:
        print("left out:", failure.reason, file=sys.stderr)
    return len(nodes)


def make_engine(path: Path, embedding: UmeR1Embedding, llm: Any, **search: Any) -> RetrieverQueryEngine:
    """Returns what answers questions: the pages that were found go to the model as pictures."""
    retriever = UmeR1Retriever(path, embed_model=embedding, **{"k": 5, "kind": "page", **search})
    return RetrieverQueryEngine.from_args(retriever, llm=llm, multimodal=True)


def sources(response: Any) -> list[str]:
    """Returns what a response rests on, as one cites it."""
    found = []
    for node in response.source_nodes:
        told = node.metadata
        part = f", page {told['page']}" if "page" in told else ""
        part += f", {told['span_s'][0]:g} to {told['span_s'][1]:g} s" if "span_s" in told else ""
        found.append(f"{told['title']}{part} ({node.score:.3f})")
    return found


def main(arguments: Sequence[str]) -> None:
    """Indexes the folder that is named first and answers the question that is named second."""
    folder, question = Path(arguments[0]), arguments[1]
    embedding = UmeR1Embedding()
    llm = OpenAILike(
        model=os.environ["LLM_MODEL"],
        api_base=os.environ["LLM_BASE_URL"],
        api_key=os.environ.get("LLM_API_KEY", "none"),
        is_chat_model=True,
        context_window=32_768,
    )
    print(ingest(folder, Path("my-index"), embedding), "pages, pictures and clips")
    response = make_engine(Path("my-index"), embedding, llm).query(question)
    print(response)
    print("\n".join(sources(response)))


if __name__ == "__main__":
    main(sys.argv[1:])
