"""Draws what report.py gives it on standard input: plot.py OUT.png. Runs in the virtual environment."""

import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as pyplot  # noqa: E402  (after the choice of what draws)
from matplotlib.ticker import EngFormatter  # noqa: E402

COLOURS = {"met": "#2a7f3f", "SHORT": "#b3261e", "undecided": "#b58100"}
OURS, RAW, OTHERS = "#2a5d9f", "#8a8a8a", "#d8a657"
DOTS_PER_INCH = 110
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10)


def draw_targets(axes, bars):
    for place, bar in enumerate(reversed(bars)):
        colour = COLOURS.get(bar["verdict"], RAW)
        if None not in bar["ends"]:
            axes.plot(sorted(bar["ends"]), [place, place], color=colour, linewidth=3, alpha=0.5)
        axes.plot([bar["value"]], [place], "o", color=colour, markersize=4)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    axes.minorticks_off()
    axes.set_yticks(range(len(bars)), [bar["label"] for bar in reversed(bars)], fontsize=6)
    axes.set_ylim(-1, len(bars))
    axes.set_xlabel("result ÷ target (right of the line: met)")
    axes.set_title("Rows against their targets")
    axes.grid(axis="x", alpha=0.3)


def draw_field(axes, group, programs):
    ordered = sorted(programs.items(), key=lambda entry: entry[1])
    colours = [
        OURS if name.startswith("bsfg") else RAW if name.startswith("raw") else OTHERS
        for name, _ in ordered]
    axes.barh([name for name, _ in ordered], [rate for _, rate in ordered], color=colours)
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.tick_params(labelsize=6)
    axes.set_title(f"{group}: records/s", fontsize=8)


def main():
    given = json.load(sys.stdin)
    count = max(1, len(given["field"]))
    height = max(6.0, 0.17 * len(given["bars"]) + 1)
    figure = pyplot.figure(figsize=(14, height), layout="constrained")
    grid = figure.add_gridspec(count, 2, width_ratios=(3, 2))
    draw_targets(figure.add_subplot(grid[:, 0]), given["bars"])
    for place, (group, programs) in enumerate(given["field"].items()):
        draw_field(figure.add_subplot(grid[place, 1]), group, programs)
    figure.savefig(sys.argv[1], dpi=DOTS_PER_INCH)


if __name__ == "__main__":
    main()
