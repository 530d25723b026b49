"""Judges trained in the embedded world, against its oracles: where there is a reward, and where styles go in a circle.

    python benchmarks/claims/judges.py --out runs/judges

Reviews have a reward: reward models and a preference model learn it from the same scored answers. Tales have none: the
styles go round in a circle, and the winner of each pair is drawn from the oracle. No reward can say that.
"""

import argparse
import gzip
import json
import random
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from truenorth import align, world
from truenorth.judge import Failed, Rewards, Verdict, Wins, judge_of
from truenorth.methods import recipe
from truenorth.online.judge import open_judge

Row = dict[str, Any]
HELD_OUT = 48  # prompts of tales
# A row of reviews has four answers, all of them in one row for a reward model, as six pairs for a preference model.
TRAINED: dict[tuple[str, str], dict[str, Any]] = {
    ("reviews", "reward"): {"epochs": 3, "batch_size": 32},
    ("reviews", "preference"): {"epochs": 1, "batch_size": 64},
    ("tales", "reward"): {"epochs": 2, "batch_size": 64},
    ("tales", "preference"): {"epochs": 2, "batch_size": 64},
}


def read(file: Path) -> list[Row]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def write(file: Path, rows: Sequence[Row]) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(file)


def drawn_pairs(rows: Sequence[Row], seed: int) -> list[Row]:
    """A pair for every two answers that differ, its winner drawn from the oracle's probability."""
    draw, pairs = random.Random(seed), list[Row]()
    for row in rows:
        for a, b in combinations(dict.fromkeys(row["responses"]), 2):
            won = draw.random() < world.tale_wins(row["prompt"], a, b)
            chosen, rejected = ([{"role": "assistant", "content": text}] for text in ((a, b) if won else (b, a)))
            pairs.append({"prompt": row["prompt"], "chosen": chosen, "rejected": rejected})
    return pairs


def trained(method: str, data: str, held_out: str, out: Path, **settings: Any) -> Path:
    """The final folder of a judge."""
    pairing = "all_pairs" if method == "preference" else "none"
    judge = recipe(method, learning_rate=3e-4)
    model = str(world.sft_model())
    align(judge, model=model, data=data, eval_data=held_out, out=out, pairing=pairing, max_length=128, **settings)
    return out / "final"


def wins_of(verdict: Verdict) -> Wins:
    assert not isinstance(verdict, Failed), verdict
    return verdict.as_wins() if isinstance(verdict, Rewards) else verdict


def agreement(judge: str, rows: Sequence[Row], oracle: str, cache: Path) -> tuple[float, float, int]:
    """Share of the pairs that the oracle tells apart and the judge ranks alike, mean |P - P_oracle|, number of pairs.

    The oracle of reviews is a reward: it wins for sure, and the second number is how unsure the judge is.
    """
    prompts, answers = [row["prompt"] for row in rows], [list(dict.fromkeys(row["responses"])) for row in rows]
    judged = open_judge(judge_of(judge), cache=cache)(prompts, answers)
    exact = open_judge(judge_of(f"world:{oracle}"))(prompts, answers)
    right, apart, pairs = 0.0, 0.0, 0
    for ours, theirs in zip(judged, exact, strict=True):
        p = wins_of(ours).wins
        for i, j in combinations(range(len(p)), 2):
            if isinstance(theirs, Rewards):
                a, b = theirs.rewards[i], theirs.rewards[j]
                truth = 0.5 if a == b else float(a > b)
            else:
                truth = wins_of(theirs).wins[i][j]
            if truth != 0.5:
                right += (p[i][j] > 0.5) == (truth > 0.5)
                apart += abs(p[i][j] - truth)
                pairs += 1
    return right / pairs, apart / pairs, pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True)
    tales = read(world.tales())
    seen, unseen = tales[:-HELD_OUT], tales[-HELD_OUT:]
    of_tales = (
        write(out / "tales.jsonl", drawn_pairs(seen, 0)),
        write(out / "tales_eval.jsonl", drawn_pairs(unseen, 1)),
    )
    of_reviews = str(world.reviews()), str(world.reviews_eval())
    print(f"{'data':8} {'judge':12} {'agrees':>8} {'|P - P*|':>9} {'pairs':>6} {'calibration error':>18}")
    for data, files, rows, oracle in (
        ("reviews", of_reviews, read(world.reviews_eval()), "reward"),
        ("tales", of_tales, unseen, "tale_wins"),
    ):
        for method in ("reward", "preference"):
            folder = out / f"{data}-{method}"
            judge = f"{method}:{trained(method, *files, folder, **TRAINED[data, method])}"
            right, apart, pairs = agreement(judge, rows, oracle, out / "cache")
            error = json.loads((folder / "summary.json").read_text())["evaluation"]["after"]["judge/calibration_error"]
            print(f"{data:8} {method:12} {right:8.1%} {apart:9.3f} {pairs:6d} {error:18.1%}", flush=True)


if __name__ == "__main__":
    main()
