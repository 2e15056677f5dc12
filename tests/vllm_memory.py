"""Encodes pictures with vLLM, says the peak of this process's memory in KiB: run by test_vllm_backend.py."""

from __future__ import annotations

import os
import resource
import sys

if __name__ == "__main__":
    os.environ |= {"VLLM_CPU_CI_ENV": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    from ume_r1_bench.parity_inputs import picture
    from ume_r1_rag import nano_path
    from ume_r1_rag.backends.base import Media, Request
    from ume_r1_rag.backends.vllm.backend import VllmBackend
    from ume_r1_rag.template import get_preset

    options = {
        "way": "one-engine",
        "in_process": True,
        "enforce_eager": True,
        "kv_cache_memory_bytes": 2**26,
        "max_model_len": 2048,
    }
    backend = VllmBackend(nano_path(), get_preset("serving"), dtype="float32", options=options)

    def requests():
        for number in range(int(sys.argv[1])):
            prompt = backend.prompt_tokenizer.prompt_ids(f"{number}", 1)
            yield Request(str(number), prompt, lambda number=number: Media((picture(number, 224),)))

    found = sum(1 for _ in backend.run(requests()))
    assert found == int(sys.argv[1])
    backend.close()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
