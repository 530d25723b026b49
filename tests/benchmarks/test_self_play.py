"""What the self-play claims are measured with: the game of styles, a model's shares of them, and the csv's tables."""

import itertools
import random
import sys
from pathlib import Path

import numpy as np
import pytest

CLAIMS = Path(__file__).parents[2] / "benchmarks" / "claims"
sys.path.insert(0, str(CLAIMS))
try:
    from drawn import SFT
    from points_file import cells, merge
    from self_play_arms import ARMS
    from self_play_game import START, STYLES, Shares, beats, beats_the_start, duality_gap, requests
    from self_play_tables import HEADER, KEYS, NUMBERS, late, read
finally:
    sys.path.remove(str(CLAIMS))

from truenorth import world  # noqa: E402
from truenorth.models.load import load_model  # noqa: E402
from truenorth.world import tale  # noqa: E402
from truenorth.world.oracles import EQUILIBRIUM  # noqa: E402


def test_the_first_word_is_judged_as_the_whole_tale() -> None:
    rng, hero = random.Random(0), tale.HEROES[0]
    prompt = tale.make_request(rng, [hero])
    tales = [tale.make_tale(rng, hero, style) for style in STYLES for _ in range(4)]
    for a, b in itertools.product([*tales, "gibberish"], repeat=2):
        assert beats(prompt, a.split()[0], b.split()[0]) == world.tale_wins(prompt, a, b)


def test_the_start_is_beaten_by_verse() -> None:
    wins = {word: beats_the_start(None, word) for word in ("Once", "Brindle", "A")}
    assert max(wins, key=lambda word: wins[word]) == "A"
    assert sum(START.values()) == pytest.approx(1)


def test_only_the_equilibrium_has_no_gap() -> None:
    assert duality_gap(np.array([[EQUILIBRIUM[style] for style in STYLES]])) == pytest.approx(0, abs=1e-15)
    assert duality_gap(np.array([[START[style] for style in STYLES]])) == pytest.approx(0.36)


def test_the_sft_model_begins_nearly_all_answers_as_tales_of_the_three_styles() -> None:
    shares = Shares(requests(4, seed=0)).of(load_model(SFT).eval())
    assert shares.shape == (4, 3)
    assert np.all(shares > 0.1)
    assert np.all((shares.sum(-1) > 0.99) & (shares.sum(-1) <= 1 + 1e-12))


def test_the_late_gap_is_the_mean_of_each_seeds_last_steps(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    lines = [["MPO", 1, step, *cells({"gap": step / 100}, NUMBERS)] for step in (0, 50, 90, 100)]
    merge(file, HEADER, lines, keys=len(KEYS))
    assert late(read(file), "MPO") == [pytest.approx(0.95)]


def test_no_two_runs_have_one_name() -> None:
    assert len({arm.name for arm in ARMS}) == len(ARMS)
