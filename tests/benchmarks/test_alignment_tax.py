"""What the alignment tax is measured with: cells and their rules, the csv, held-out text, and tables."""

import itertools
import math
import sys
from pathlib import Path

import pytest
import torch

CLAIMS = Path(__file__).parents[2] / "benchmarks" / "claims"
sys.path.insert(0, str(CLAIMS))
try:
    from alignment_tax import claimed
    from tax_cells import STEPS, Cell, online, plan
    from tax_measures import document_nats, other_tasks
    from tax_points import Key, append, read
    from tax_tables import label, measured, places
finally:
    sys.path.remove(str(CLAIMS))

from truenorth import world  # noqa: E402
from truenorth.models.load import load_model  # noqa: E402


def test_no_run_is_planned_twice() -> None:
    runs = [(cell.key, seed) for cell, seed in plan()]
    assert len(set(runs)) == len(runs) > 50


@pytest.mark.parametrize("arm", ["OnDARE, released", "OnDARE, written"])
@pytest.mark.parametrize("every", [1, 8])
def test_a_pull_is_the_share_of_the_task_vector_that_arrives(arm: str, every: int) -> None:
    """The mean over masks of what all merges of a run add, by the rule itself."""
    rule = online(arm, keep=0.1, pull=0.3, every=every).update().merging
    assert rule is not None
    added = rule.keep * rule.combined(torch.zeros(1), torch.ones(1)) * STEPS / every  # kept with that probability
    assert added.item() == pytest.approx(0.3)


@pytest.mark.parametrize("arm", ["OnDARE, released", "OnDARE, written"])
def test_steps_of_both_presets_are_as_large_on_average(arm: str) -> None:
    update = online(arm, keep=0.1, pull=0.0, rate=1e-3).update()
    assert update.merging is not None
    moved = update.merging.combined(torch.full((1,), update.learning_rate), torch.zeros(1))
    assert update.merging.keep * moved.item() == pytest.approx(1e-3)


def test_adamw_alone_has_no_rule_and_child_tuning_no_pull() -> None:
    assert Cell("AdamW").update().merging is None
    rule = Cell("child-tuning", keep=0.1).update().merging
    assert rule is not None
    assert rule.alpha == 0


def test_the_csv_gives_back_what_was_appended(tmp_path: Path) -> None:
    file, first, second = tmp_path / "a.csv", Key("AdamW", seed="1"), Key("AdamW", seed="1", after="ExPO 0.3")
    assert read(file) == {}
    append(file, {first: {"reward": 0.25, "tokens": 3.0}})
    append(file, {second: {}})
    assert read(file) == {first: {"reward": 0.25}, second: {}}
    assert file.read_text().count("reward") == 1  # one header


def test_a_run_is_claimed_once_and_let_go(tmp_path: Path) -> None:
    with claimed(tmp_path, "one run") as ours, claimed(tmp_path, "one run") as again:
        assert ours
        assert not again
    with claimed(tmp_path, "one run") as ours:
        assert ours


def test_held_out_tasks_are_of_the_grammar_and_no_reviews() -> None:
    rows = other_tasks(8)
    assert rows == other_tasks(8)
    for row in rows:
        prompt, responses = row["prompt"], row["responses"]
        assert world.grammatical(prompt, responses[0])  # pyright: ignore
        with pytest.raises(ValueError, match="review"):
            world.review_reward(prompt, responses[0])  # pyright: ignore


def test_a_document_has_the_nats_of_its_tokens_whatever_is_beside_it() -> None:
    model = load_model(str(world.base_model())).eval()
    short, long = torch.tensor([1, 300, 301]), torch.tensor([1, 302, 303, 304, 305, 306])

    def nats(tokens: torch.Tensor) -> float:
        with torch.no_grad():
            logs = model(input_ids=tokens[None]).logits[0].log_softmax(-1)
        return sum(logs[i, token].item() for i, token in enumerate(tokens[1:].tolist()))

    expected = (nats(short) + nats(long)) / 7
    assert document_nats(model, [short, long]) == pytest.approx(expected, abs=1e-5)  # padded float32 forwards


def _point(reward: float, right: float) -> dict[str, float]:
    return dict.fromkeys(("kl", "facts", "sft", "base"), 0.0) | {"reward": reward, "right": right}


def test_a_table_has_the_mean_over_seeds_and_its_error() -> None:
    group = Key(*Cell("AdamW").key)
    found = {Key(*Cell("AdamW").key, str(seed)): _point(seed / 10, 0.9) for seed in (1, 2, 3)}
    lines = measured(found, [group, Key("SFT")])
    assert len(lines) == 3  # two of the head, and none for what was not run
    assert f"| 3 | 0.200 +- {0.1 / math.sqrt(3):.3f} |" in lines[-1]


def test_a_tax_is_what_the_sft_model_has_more_and_never_below_none() -> None:
    rates = dict(itertools.islice(zip((1e-3, 5e-4), (0.8, 0.999), strict=True), 2))
    found = {Key("SFT"): _point(0.0, 0.99)}
    found |= {Key(*Cell("AdamW", rate=rate).key, "1"): _point(0.5, right) for rate, right in rates.items()}
    taxes = [tax for tax, _ in places(found, "AdamW, learning rates", "1")]
    assert taxes == pytest.approx([0.0, 0.19, 0.0])


def test_a_label_names_what_is_not_usual() -> None:
    assert label(Key(*Cell("AdamW", beta=3.0).key)) == "AdamW, beta 3, rate 0.001"
