"""The loss curves of a run as a picture."""

from __future__ import annotations

import json
from pathlib import Path


def plot_log(log: Path, picture: Path) -> None:
    """Draws the losses and in-batch accuracies of a JSONL log into a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), constrained_layout=True)
    for axis, names, title in (
        (axes[0], ("ce", "disc", "gen"), "loss"),
        (axes[1], ("disc_hit", "gen_hit"), "in-batch hit@1"),
    ):
        # DUME has no gen and no words.
        for name in (name for name in names if name in rows[0]):
            values = [row[name] for row in rows]
            window = max(1, len(values) // 40)
            smooth = [
                sum(values[max(0, i - window) : i + 1]) / len(values[max(0, i - window) : i + 1])
                for i in range(len(values))
            ]
            axis.plot([row["step"] for row in rows], smooth, label=name)
        axis.set_title(f"{title} (running mean)")
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
        axis.legend()
    axes[0].set_yscale("log")
    figure.savefig(picture, dpi=120)
    plt.close(figure)
