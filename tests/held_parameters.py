"""A ZeRO-3 run that also writes what its optimiser holds: run by ``test_gradient_cache.py``, on its ranks.

The optimiser's own copies are asked for through DeepSpeed's accessor, one parameter after the other on every
rank: another way than the checkpoint's.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from safetensors.torch import save_file

from ume_r1_trainer.config import SftConfig
from ume_r1_trainer.sft import Sft


def main(options: Path, held: Path) -> None:
    """Trains, and writes ``RANK.safetensors``."""
    from deepspeed.utils import safe_get_full_fp32_param

    run = Sft(SftConfig(**json.loads(options.read_text())))
    run.train(progress=False)
    parameters = {
        name: safe_get_full_fp32_param(parameter).clone() for name, parameter in run.model.named_parameters()
    }
    held.mkdir(exist_ok=True)
    save_file(parameters, held / f"{run.ranks.rank}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
