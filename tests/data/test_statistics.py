import json
from collections.abc import Sequence

import pytest

from tests.tiny import rows_of
from truenorth.data.problems import Account
from truenorth.data.statistics import Lengths, Statistics, length_bias, statistics_of
from truenorth.data.tokens import TokenizedRows


def rows(*shapes: tuple[int, Sequence[int]]) -> TokenizedRows:
    return TokenizedRows.of(rows_of(shapes))


def test_sharing_saves_all_prompts_but_one_of_each_row() -> None:
    found = statistics_of(rows((10, [1, 1]), (10, [1, 1, 2])), Account())
    assert (found.tokens, found.tokens_unshared) == (26, 56)
    assert found.tokens_saved == pytest.approx(1 - 26 / 56)


def test_degraded_versions_share_the_prompt_too() -> None:
    found = statistics_of(TokenizedRows.of(rows_of([(10, [3, 4])], degraded=1)), Account())
    assert (found.tokens, found.tokens_unshared) == (10 + 3 + 2 + 4 + 3, 4 * 10 + 3 + 2 + 4 + 3)


def test_the_best_answers_are_chosen_and_all_others_rejected() -> None:
    found = statistics_of(rows((1, [5, 7]), (1, [3, 2, 4])), Account())
    assert found.chosen == Lengths(2, 4.0, 3, pytest.approx(3.1), 4.0, pytest.approx(4.9), pytest.approx(4.98), 5)
    assert found.rejected is not None
    assert (found.rejected.count, found.rejected.most) == (3, 7)


def test_length_bias_counts_rows_whose_best_answer_is_longer_than_the_worst() -> None:
    bias = length_bias(rows((1, [5, 2]), (1, [5, 9, 2]), (1, [2, 5]), (1, [3, 3])))
    assert bias is not None
    assert (bias.pairs, bias.longer, bias.shorter) == (4, 2, 1)
    assert bias.share == pytest.approx(2 / 3)
    assert bias.accuracy == pytest.approx(2.5 / 4)


def test_single_answers_have_no_length_bias() -> None:
    assert length_bias(rows((1, [5]))) is None


def test_statistics_outlive_json() -> None:
    found = statistics_of(rows((1, [5]), (2, [3])), Account(read=2, kept=2))
    assert Statistics.from_dict(json.loads(json.dumps(found.to_dict()))) == found
