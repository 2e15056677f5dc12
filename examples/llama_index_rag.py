"""A folder of PDFs, pictures and clips, asked through LlamaIndex; the answer names the pages it is read from.

    pip install "ume-r1-rag[transformers]" llama-index-llms-openai-like
    python llama_index_rag.py FOLDER "what is the rent in the harbor report?" --llm MODEL --llm-url URL

URL is of any server with OpenAI's chat API whose model sees pictures: vLLM, Ollama, llama.cpp or OpenAI's
own; its key is in OPENAI_API_KEY. What is indexed already is not encoded again. --model nano tries the rest
without a GPU.
"""

from __future__ import annotations

import argparse
import os
import sys
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


def main() -> None:
    """Indexes a folder, answers one question and says from which pages."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="PDFs, pictures, clips and texts")
    parser.add_argument("question")
    parser.add_argument("--llm", required=True, help="the chat model's name")
    parser.add_argument("--llm-url", default="https://api.openai.com/v1", help="its server, ending in /v1")
    parser.add_argument("--model", help="embedding model: nano, a folder or a hub id; default UME-R1-2B")
    parser.add_argument("--index", type=Path, default=Path("my-index"), help="folder of the index")
    parser.add_argument("-k", type=int, default=5, help="pages that the chat model is shown")
    options = parser.parse_args()
    if not options.folder.exists():
        parser.error(f"{options.folder} does not exist: check the path")

    embedding = UmeR1Embedding(options.model)
    llm = OpenAILike(
        model=options.llm,
        api_base=options.llm_url,
        api_key=os.environ.get("OPENAI_API_KEY", "none"),
        is_chat_model=True,
        context_window=32_768,
    )
    print(ingest(options.folder, options.index, embedding), "pages, pictures, clips and texts")
    response = make_engine(options.index, embedding, llm, k=options.k).query(options.question)
    print(response)
    print("\n".join(f"  {source}" for source in sources(response)))


if __name__ == "__main__":
    main()
