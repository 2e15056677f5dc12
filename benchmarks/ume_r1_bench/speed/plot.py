"""The throughputs as a picture: a panel for each kind of input and number of tokens, a line for each way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ume_r1_bench.speed.cell import Cell
from ume_r1_bench.speed.report import SpeedReport
from ume_r1_bench.speed.way import ABOUT, WAYS


def draw(report: SpeedReport, picture: Path) -> None:
    """Draws a report into a PNG, SVG or PDF.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import LogLocator

    sound = {key: one for key, one in report.figures.items() if not one.failed}
    rows = list(dict.fromkeys((cell.model, cell.kind) for cell, _ in sound))
    columns = sorted({cell.tokens for cell, _ in sound})
    if not rows:
        return
    size = (3.6 * len(columns) + 2, 2.8 * len(rows) + 0.6)
    figure, axes = plt.subplots(
        len(rows), len(columns), figsize=size, squeeze=False, constrained_layout=True, sharex=True
    )
    named: dict[str, Any] = {}
    for row, (model, kind) in enumerate(rows):
        for column, tokens in enumerate(columns):
            axis = axes[row][column]
            for number, way in enumerate(WAYS):
                points = sorted(
                    (cell.concurrency, one.rate)
                    for (cell, whose), one in sound.items()
                    if whose == way and cell == Cell(model, kind, tokens, cell.concurrency)
                )
                if points:
                    (line,) = axis.plot(*zip(*points, strict=True), marker="o", color=f"C{number}")
                    named[ABOUT[way].shown] = line
            many = sorted({cell.concurrency for cell, _ in sound})
            axis.set(xscale="log", yscale="log", title=f"{model}, {kind}, {tokens or 'disc'}")
            axis.set_xticks(many, [str(one) for one in many])
            axis.minorticks_off()
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter("{x:g}")
            axis.grid(alpha=0.3, which="both")
            axis.set_xlabel("requests at once")
        axes[row][0].set_ylabel("requests/s")
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=4)
    figure.savefig(picture, dpi=110)
    plt.close(figure)
