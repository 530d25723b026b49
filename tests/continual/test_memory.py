"""What is kept of a domain."""

from collections import Counter

from truenorth.continual.memory import reservoir

STREAM = [("rows.jsonl", row) for row in range(1, 11)]


def test_every_row_is_kept_with_the_same_probability() -> None:
    draws = 4000
    kept = Counter(row for seed in range(draws) for row in reservoir(STREAM, 3, seed=seed, name="tales"))
    expected, deviation = 0.3 * draws, (draws * 0.3 * 0.7) ** 0.5
    assert all(abs(kept[row] - expected) < 4 * deviation for row in STREAM)


def test_a_seed_and_a_name_keep_the_same_rows_and_others_others() -> None:
    kept = reservoir(STREAM, 4, seed=1, name="tales")
    assert kept == reservoir(iter(STREAM), 4, seed=1, name="tales")
    assert len(set(kept)) == 4
    others = [
        reservoir(STREAM, 4, seed=seed, name=name) for seed, name in ((2, "tales"), (1, "letters"), (3, "tales"))
    ]
    assert any(other != kept for other in others)
