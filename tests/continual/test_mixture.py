"""Adapters mixed in memory, and ratios fitted on rows: laws and derivatives."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.continual.adapters import adapter, dense_sum, logits, logits_of
from tests.tiny import rows_of, tiny_directory
from truenorth.continual.fit import fitted, in_box, on_grid
from truenorth.continual.mixture import Mixture
from truenorth.continual.scoring import Scored, Scorer
from truenorth.data.tokens import TokenizedRows
from truenorth.domains import Domains
from truenorth.evaluate.continual import Ratios
from truenorth.methods import recipe

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_directory(tmp_path_factory.mktemp("base") / "sft"))


@pytest.fixture(scope="module")
def adapters(base: str, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return [adapter(base, folder / str(seed), seed=seed) for seed in range(3)]


def rows(seed: int) -> TokenizedRows:
    return TokenizedRows.of(rows_of([(4, (5, 3)), (3, (4, 6)), (5, (2, 2))], seed=seed))


def scorer_of(base: str, adapters: list[Path], method: str = "dpo") -> Scorer:
    return Scorer(recipe(method), Mixture(adapters, device=CPU), base)


def test_one_ratio_alone_is_that_adapter_and_none_is_the_base(base: str, adapters: list[Path]) -> None:
    mixture = Mixture(adapters, device=CPU)
    assert torch.equal(logits(mixture.model), logits(dense_sum(base, [], [])))
    for place, folder in enumerate(adapters):
        mixture.mix([float(place == other) for other in range(3)])
        torch.testing.assert_close(logits(mixture.model), logits_of(base, folder), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ratios", [[0.2, 0.5, 0.3], [1.0, 1.0, 1.0], [0.9, 0.0, 0.6]])
def test_a_mixture_is_the_dense_sum(ratios: list[float], base: str, adapters: list[Path]) -> None:
    mixture = Mixture(adapters, device=CPU)
    mixture.mix(ratios)
    torch.testing.assert_close(logits(mixture.model), logits(dense_sum(base, adapters, ratios)), rtol=1e-5, atol=1e-5)


def test_slopes_are_the_derivatives_by_the_ratios(adapters: list[Path]) -> None:
    mixture, tokens = Mixture(adapters, device=CPU), torch.arange(3, 19)[None]

    def loss(ratios: list[float]) -> torch.Tensor:
        mixture.mix(ratios)
        return mixture.model(input_ids=tokens).logits.log_softmax(-1)[0, :, 5].double().sum()

    here, step = [0.2, 0.5, 0.3], 0.02
    slopes = mixture.slopes(loss(here))
    for place in range(3):
        moved = [[r + n * step * (place == i) for i, r in enumerate(here)] for n in (-2, -1, 1, 2)]
        a, b, c, d = (float(loss(ratios).detach()) for ratios in moved)
        # of fourth order: a norm in float32 rounds too much for smaller steps
        assert slopes[place] == pytest.approx((a - 8 * b + 8 * c - d) / (12 * step), rel=1e-3)


def test_the_start_ranks_nothing_and_loses_log_two(base: str, adapters: list[Path]) -> None:
    scorer = scorer_of(base, adapters)
    scored = scorer.rows(rows(0))
    assert scorer.accuracies(scored) == [0.5] * 3
    assert sum(float(part.detach()) for part in scorer.losses(scored)) == pytest.approx(0.6931472, rel=1e-6)


def total(scorer: Scorer, memories: list[Scored], ratios: list[float]) -> float:
    scorer.mixture.mix(ratios)
    return sum(float(part.detach()) for memory in memories for part in scorer.losses(memory)) / len(memories)


@pytest.mark.parametrize(("method", "fit"), [("dpo", None), ("dpo", "gradient"), ("simpo", "gradient")])
def test_fitted_ratios_lie_on_the_simplex_and_are_no_worse_than_equal_ones(
    method: str, fit: str | None, base: str, adapters: list[Path]
) -> None:
    count = 2 if fit is None else 3
    scorer = scorer_of(base, adapters[:count], method)
    memories = [scorer.rows(rows(seed)) for seed in range(count)]
    found = fitted(Domains(within="simplex", fit=fit), scorer, memories)  # pyright: ignore[reportArgumentType]
    assert min(found.ratios) >= 0
    assert sum(found.ratios) == pytest.approx(1, abs=1e-6)
    assert found.loss == pytest.approx(total(scorer, memories, list(found.ratios)), rel=1e-5)
    assert found.at_equal == pytest.approx(total(scorer, memories, [1 / count] * count), rel=1e-5)
    assert found.loss is not None
    assert found.at_equal is not None
    assert found.loss < found.at_equal


@pytest.mark.parametrize(("method", "count"), [("dpo", 2), ("dpo", 3), ("simpo", 3)])
def test_the_box_holds_the_simplex_and_the_plain_sum(method: str, count: int, base: str, adapters: list[Path]) -> None:
    scorer = scorer_of(base, adapters[:count], method)
    memories = [scorer.rows(rows(seed)) for seed in range(count)]
    found, simplex = (fitted(Domains(within=within), scorer, memories) for within in ("box", "simplex"))
    assert all(0 <= ratio <= 1 for ratio in found.ratios)
    assert found.loss == pytest.approx(total(scorer, memories, list(found.ratios)), rel=1e-5)
    assert found.at_ones == pytest.approx(total(scorer, memories, [1.0] * count), rel=1e-5)
    assert found.at_equal == simplex.at_equal
    assert found.loss is not None
    assert simplex.loss is not None
    assert found.at_ones is not None
    assert found.loss <= min(simplex.loss, found.at_ones) + 1e-6


@pytest.mark.parametrize("within", ["box", "simplex"])
def test_one_domain_has_its_adapter_as_it_is(within: Any, base: str, adapters: list[Path]) -> None:
    scorer = scorer_of(base, adapters[:1])
    assert fitted(Domains(within=within), scorer, [scorer.rows(rows(0))]).ratios == (1.0,)


def test_domains_that_do_not_touch_each_other_keep_all_of_their_adapters() -> None:
    simplex = Ratios((0.4, 0.6), -1.0, -1.0, at_ones=-2.0)
    assert in_box(lambda ratios: (sum(ratios), [1.0, 1.0]), simplex).ratios == (1.0, 1.0)


def test_where_two_contradict_each_other_the_box_finds_what_the_simplex_cannot() -> None:
    """Margins 6a - b and 2b - 1.2a: the sum of their logistic losses is least at b = 1 and an a below 1."""

    def uphill(ratios: Sequence[float]) -> tuple[float, list[float]]:
        at = torch.tensor(ratios, dtype=torch.float64, requires_grad=True)
        margins = torch.stack([6 * at[0] - at[1], 2 * at[1] - 1.2 * at[0]])
        value = torch.nn.functional.logsigmoid(margins).sum()
        [slopes] = torch.autograd.grad(value, at)
        return value.item(), slopes.tolist()

    every = [(a / 200, b / 200) for a in range(201) for b in range(201)]
    best = max(every, key=lambda ratios: uphill(ratios)[0])
    simplex = replace(on_grid(lambda ratios: -uphill(ratios)[0]), at_ones=-uphill([1.0, 1.0])[0])
    found = in_box(uphill, simplex)
    assert found.ratios == pytest.approx(best, abs=0.01)
    assert found.loss is not None
    assert simplex.loss is not None
    assert found.loss < simplex.loss - 0.1
    assert 0 < best[0] < 1 == best[1]


def test_a_domain_twice_has_the_same_loss_whatever_the_ratios(base: str, adapters: list[Path]) -> None:
    scorer = scorer_of(base, [adapters[0], adapters[0]])
    memories = [scorer.rows(rows(1)), scorer.rows(rows(1))]
    losses = [total(scorer, memories, [ratio, 1 - ratio]) for ratio in (0.0, 0.3, 0.5, 1.0)]
    assert losses == pytest.approx([losses[0]] * 4, rel=1e-5)


def test_of_ratios_that_are_alike_the_grid_takes_the_equal_ones() -> None:
    assert on_grid(lambda ratios: 1.0 + 1e-9 * ratios[0]).ratios == (0.5, 0.5)
    assert on_grid(lambda ratios: -ratios[0]).ratios == (1.0, 0.0)


def test_given_ratios_are_taken_as_they_are(base: str, adapters: list[Path]) -> None:
    scorer = scorer_of(base, adapters[:2])
    memories = [scorer.rows(rows(seed)) for seed in range(2)]
    assert fitted(Domains(ratios=(0.9, 0.4)), scorer, memories).ratios == (0.9, 0.4)
