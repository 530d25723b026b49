"""Draw docs/step-time.svg: seconds of a step against the answers to a prompt, for us and for TRL, from results.csv."""

import csv
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from results import RESULTS

PICTURE = Path(__file__).parent.parent / "docs" / "step-time.svg"
CANDIDATES = (2, 4, 8)
OURS, THEIRS, INK = "#1f6f5c", "#b4552d", "#57606a"


def main() -> None:
    rows = [newest(k) for k in CANDIDATES]
    ours, theirs = ([float(row[side]) for row in rows] for side in ("ours", "theirs"))
    with mpl.rc_context({"svg.hashsalt": "step-time", "svg.fonttype": "none", "font.size": 10}):
        figure = Figure(figsize=(6.4, 3.2))
        axes = figure.add_axes((0.09, 0.16, 0.78, 0.74))
        for seconds, colour, name in ((theirs, THEIRS, "TRL 1.16"), (ours, OURS, "TrueNorth")):
            axes.plot(CANDIDATES, seconds, color=colour, marker="o", linewidth=2, markersize=5)
            axes.annotate(name, (CANDIDATES[-1], seconds[-1]), (8, 0), textcoords="offset points", color=colour)
        for k, low, high in zip(CANDIDATES, ours, theirs, strict=True):
            axes.annotate(f"{high / low:.1f}x", (k, high), (-4, 8), textcoords="offset points", ha="right", color=INK)
        axes.set_ylim(0, 1.18 * max(theirs))
        axes.set_xticks(CANDIDATES)
        axes.set_xlabel("answers to a prompt", color=INK)
        axes.set_title("seconds of a step of 4 prompts", loc="left", color=INK, fontsize=10)
        axes.tick_params(length=0, colors=INK)
        axes.grid(axis="y", color="#d0d7de", linewidth=0.8)
        axes.spines[["top", "left", "right"]].set_visible(False)
        figure.savefig(PICTURE, metadata={"Date": None}, facecolor="white")
    print(f"{PICTURE.name}: {rows[0]['machine']}, {rows[0]['versions']}")


def newest(candidates: int) -> dict[str, str]:
    """The last measurement with that many answers and TRL at its faster batch size. Raises SystemExit without one."""
    with RESULTS.open(newline="") as lines:
        found = [
            row
            for row in csv.DictReader(lines)
            if row["setting"].startswith(f"(d{candidates})")
            and "allocator tuned" in row["note"]
            and "TRL is faster" not in row["note"]
        ]
    if not found:
        raise SystemExit(f"{RESULTS.name} has no row for {candidates} answers: run step.py --setting d{candidates}.")
    return found[-1]


if __name__ == "__main__":
    main()
