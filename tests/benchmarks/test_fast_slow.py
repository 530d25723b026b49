"""What fast and slow modules are measured with: domains and their rewards, a stream that turns, norms, and tables."""

import json
import sys
from pathlib import Path

import pytest

CLAIMS = Path(__file__).parents[2] / "benchmarks" / "claims"
sys.path.insert(0, str(CLAIMS))
try:
    from fast_slow import SEEDS, WHOLE
    from fast_slow_domains import FOUR, TRAINED, UNSEEN, points
    from fast_slow_points import Key, less, read, write
    from fast_slow_rows import REWARDS, domain_of, of_domains, reward, turning
    from fast_slow_runs import Trial, norms
    from fast_slow_stream import back, regret, steps_of
    from fast_slow_tables import COFS, against, tables
    from picture_fast_slow import curve, smooth
    from picture_fast_slow_domains import WAYS
finally:
    sys.path.remove(str(CLAIMS))

FOX = "Write a review of the Blue Fox."


@pytest.mark.parametrize(
    ("request_", "domain"),
    [(FOX, "praise"), ("How was your visit to the Blue Fox?", "brief"), ("Write to Mr Finch: fix the roof.", "blunt")],
)
def test_a_request_says_its_domain(request_: str, domain: str) -> None:
    assert domain_of(request_) == domain


def test_the_same_review_is_judged_by_what_was_asked() -> None:
    short, long = (
        "What a letdown the Blue Fox is!",
        "What a gem the Blue Fox is! The soup was perfect. The host was kind.",
    )
    question = "How was your visit to the Blue Fox?"
    assert reward(FOX, long) > reward(FOX, short)
    assert reward(question, short) == 1.0 > reward(question, long) == 0.0


def test_no_domain_rewards_gibberish() -> None:
    requests = (FOX, "How was your visit to the Blue Fox?", "Write to Mr Finch: fix the roof.")
    for request in requests:
        assert reward(request, "soup soup soup") == -1.0


def test_every_domain_has_rows_of_its_own_and_none_that_prefer_nothing(tmp_path: Path) -> None:
    train, held_out = of_domains(tmp_path, seed=1, requests=12, names=FOUR)
    assert [file.stem for file in train] == list(FOUR) == list(REWARDS)
    for name, file, unseen in zip(FOUR, train, held_out, strict=True):
        rows, others = ([json.loads(line) for line in path.read_text().splitlines()] for path in (file, unseen))
        assert rows
        assert {domain_of(row["prompt"]) for row in [*rows, *others]} == {name}
        assert all(row["scores"][0] != row["scores"][1] for row in [*rows, *others])
        known = {json.dumps(row["prompt"]) for row in rows}
        assert not known & {json.dumps(row["prompt"]) for row in others}


def test_a_turning_stream_prefers_the_opposite_once_it_has_turned(tmp_path: Path) -> None:
    row = {"prompt": [{"role": "user", "content": FOX}], "responses": ["a", "b", "c", "d"], "scores": [4, 3, 2, 1]}
    (tmp_path / "drawn-8x4-seed1.jsonl").write_text(f"{json.dumps(row)}\n" * 8)
    file = turning(tmp_path, seed=1, asked=8, before=5, after=6)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["scores"][0] > row["scores"][1] for row in rows] == [True] * 5 + [False] * 6


RECORDS = [
    {"step": 1, "split": "train", "loss": 0.7, "loss/base": 0.6, "rewards/accuracies": 0.5, "grad_norm": 3.0}
    | {"player-1/loss/base": 0.5, "player-1/loss": 0.4, "player-1/rewards/accuracies": 0.75, "player-1/grad_norm": 4.0}
    | {"chase/fast": 1.0},
    {"step": 1, "split": "eval", "loss": 9.0},
]


def test_online_numbers_are_of_the_module_in_the_fast_role_without_what_ties_it() -> None:
    assert steps_of(RECORDS) == {"loss": [0.5], "accuracy": [0.75], "fast": [1.0]}


def test_norms_go_by_the_role_of_the_step(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(json.dumps(RECORDS[0]) + "\n")
    assert norms(tmp_path / "metrics.jsonl") == [{"step": 1, "norm fast": 4.0, "norm slow": 3.0}]


def test_regret_is_against_the_best_snapshot_over_the_steps_it_was_scored_on() -> None:
    known = {"steps": [1, 3], "snapshots": [{"loss": [0.7, 0.3]}, {"loss": [0.2, 0.4]}]}
    assert regret([0.5, 9.0, 0.6, 9.0], known) == pytest.approx(4 * (0.55 - 0.3))


def test_a_stream_that_does_not_come_back_has_all_its_steps() -> None:
    assert back([0.0] * 9) == 9
    assert back([1.0] * 9) == 5


def test_both_learning_rates_of_a_trial_differ_by_its_speeds() -> None:
    trial = Trial("OFS-DPO, alpha 0.5, speeds 0.9", 1e-3, 1)
    assert trial.recipe.chase is not None
    assert trial.recipe.chase.speed_ratio == 0.9
    assert trial.recipe.objective.alpha == 0.5  # pyright: ignore[reportAttributeAccessIssue]
    assert Trial("DPO", 1e-3, 1).recipe.chase is None


@pytest.mark.parametrize("part", ["one", "few", "stream"])
def test_no_run_is_planned_twice(part: str) -> None:
    names = [str(trial) for seed in SEEDS for trial in WHOLE.trials(part, seed)]
    assert len(set(names)) == len(names) >= 12


def test_the_csv_gives_back_what_was_written_and_the_newest_of_it(tmp_path: Path) -> None:
    file, key = tmp_path / "a.csv", Key("one", "DPO", "0.001", "1", "24", "reward")
    assert read(file) == {}
    write(file, {key: 0.25})
    write(file, {key: 0.5})
    assert read(file) == {key: 0.5}


def test_a_table_has_differences_seed_by_seed() -> None:
    found = {
        Key("one", arm, "0.001", seed, at, name): value + (arm != "DPO") * 0.1 * float(seed)
        for arm, at in (("DPO", "24"), ("OFS-DPO", "24"))
        for seed, value in (("1", 0.2), ("3", 0.6))
        for name in ("reward", "kl", "accuracy")
    }
    lines = dict(tables(found))["OFS-DPO less DPO at the same rate"]
    assert lines[-1] == "| OFS-DPO | 24 | 0.001 | +0.200 +- 0.100 | +0.20 +- 0.10 | +0.200 +- 0.100 |"
    assert less({"1": 1.0, "2": 5.0}, {"1": 0.5, "3": 0.0}) == [0.5]


def test_readings_of_one_sequence_keep_their_names_and_every_way_is_drawn() -> None:
    sequence, found = WHOLE.sequences[0], {}
    for reading, value in zip((*TRAINED, *UNSEEN), (0.6, 0.9, 0.8, 0.7), strict=True):
        ways = {way: {"accuracy": [[0.5, 0.5], None, [value, value]]} for way in ("cofs", *reading.baselines)}
        summary = {way: {"accuracy": {"average": value}} for way in ways}
        run = {"ways": ways, "summary": summary, "fits": [{"ratios": [1.0]}, {"ratios": [value, 0.1], "loss": value}]}
        found |= points(run, sequence, reading, 1)
    beside = {"average, unseen", "plain sum, unseen", "routing, unseen"}
    assert {key.arm for key in found} == set(WAYS) | beside
    for name in ("ratio praise", "memory loss"):
        assert {arm: found[Key("2 domains", arm, "0.001", "1", "all", name)] for arm in COFS} == {
            "cofs, box": 0.9,
            "cofs, simplex": 0.6,
            "cofs, box, unseen": 0.8,
            "cofs, simplex, unseen": 0.7,
        }
    [line] = [line for line in against(found, "2 domains", "cofs, simplex") if line.startswith("| plain sum |")]
    assert "| +0.300 |" in line


def test_a_curve_is_the_mean_over_seeds_in_the_order_of_steps() -> None:
    steps = (("10", "1", 4.0), ("2", "1", 1.0), ("2", "2", 3.0), ("all", "1", 9.0))
    found = {Key("few", "DPO", "0.001", seed, at, "share"): value for at, seed, value in steps}
    assert curve(found, part="few", arm="DPO", name="share") == ([2, 10], [2.0, 4.0])
    assert smooth([2.0, 4.0], 5) == [2.0, 3.0]
