"""Laws of the merges: each is another one at some setting."""

import pytest
import torch

from tests.merging import draw, merged
from truenorth.errors import SettingsError
from truenorth.merges import MERGES, merge_of
from truenorth.merges.breadcrumbs import Breadcrumbs
from truenorth.merges.dare import DARETIES, DARELinear
from truenorth.merges.expo import ExPO
from truenorth.merges.hma import HMA
from truenorth.merges.linear import Linear
from truenorth.merges.slerp import Slerp
from truenorth.merges.soup import Soup
from truenorth.merges.task_arithmetic import TaskArithmetic
from truenorth.merges.ties import TIES
from truenorth.settings import find, table
from truenorth.weights.merge import TensorMerge

A, B, BASE = draw(0, 40, 30), draw(1, 40, 30), draw(2, 40, 30)
TENSOR_MERGES = [name for name in MERGES if issubclass(find(MERGES[name]), TensorMerge)]


def test_expo_by_nothing_is_the_aligned_model_and_by_minus_one_the_sft_model() -> None:
    assert torch.equal(merged(ExPO(alpha=0), [A], BASE), A)
    assert torch.equal(merged(ExPO(alpha=-1), [A], BASE), BASE)


@pytest.mark.parametrize("alpha", [0.2, 0.5, 0.9])
def test_expo_backwards_is_averaging_with_the_sft_model(alpha: float) -> None:
    averaged = merged(Linear(weights=(alpha, 1 - alpha)), [BASE, A])
    torch.testing.assert_close(merged(ExPO(alpha=-alpha), [A], BASE), averaged)


def test_expo_of_expo_composes() -> None:
    twice = merged(ExPO(alpha=0.5), [merged(ExPO(alpha=0.3), [A], BASE)], BASE)
    torch.testing.assert_close(twice, merged(ExPO(alpha=1.3 * 1.5 - 1), [A], BASE))


def test_expo_is_task_arithmetic_with_a_scale_above_one() -> None:
    torch.testing.assert_close(merged(ExPO(alpha=0.3), [A], BASE), merged(TaskArithmetic(scale=1.3), [A], BASE))


def test_expo_of_a_model_with_itself_is_itself() -> None:
    assert torch.equal(merged(ExPO(alpha=2.5), [A], A), A)


@pytest.mark.parametrize("layer", [None, (0, 7), (6, 7)])
def test_hma_with_equal_ratios_is_averaging(layer: tuple[int, int] | None) -> None:
    averaged = merged(Linear(weights=(0.2, 0.8)), [BASE, A])
    torch.testing.assert_close(merged(HMA(alpha=0.2, ratios=(5, 5, 5)), [A], BASE, layer=layer), averaged)


def test_hma_at_one_is_the_sft_model_and_at_zero_the_aligned_one() -> None:
    assert torch.equal(merged(HMA(alpha=1), [A], BASE), BASE)
    assert torch.equal(merged(HMA(alpha=0), [A], BASE), A)


@pytest.mark.parametrize("ratios", [(1, 2, 3), (0, 1), (4, 1, 1, 1)])
def test_hma_holds_the_mean_share(ratios: tuple[float, ...]) -> None:
    shares = HMA(alpha=0.2, ratios=ratios).shares
    assert sum(shares) / len(shares) == pytest.approx(0.2, rel=1e-12)


def test_hma_has_a_share_for_each_block_lowest_layers_first() -> None:
    how = HMA(alpha=0.3, ratios=(1, 2, 3))
    for layer, share in [((0, 6), 0.15), ((2, 6), 0.3), ((5, 6), 0.45), (None, 0.3)]:
        torch.testing.assert_close(merged(how, [A], BASE, layer=layer), share * BASE + (1 - share) * A)


def test_hma_refuses_a_share_above_one() -> None:
    with pytest.raises(SettingsError, match=r"none of which may exceed 1"):
        HMA(alpha=0.5, ratios=(0, 0, 1))


def test_soup_of_equals_is_the_identity() -> None:
    assert torch.equal(merged(Soup(), [A, A, A]), A)


def test_soup_is_linear_with_equal_weights() -> None:
    assert torch.equal(merged(Soup(), [A, B]), merged(Linear(), [A, B]))
    torch.testing.assert_close(merged(Soup(), [A, B, BASE]), (A + B + BASE) / 3)


def test_ties_that_trims_nothing_from_one_model_is_task_arithmetic() -> None:
    assert torch.equal(merged(TIES(keep=1), [A], BASE), merged(TaskArithmetic(), [A], BASE))


def test_ties_leaves_the_base_where_nothing_is_kept() -> None:
    found = merged(TIES(keep=0.1), [A, B], BASE)
    assert 0.8 < (found == BASE).float().mean() < 0.9  # two tenths, where they do not overlap


def test_ties_of_a_model_and_its_mirror_image_takes_the_plus_side() -> None:
    zero = torch.zeros_like(A)  # so that the task vectors are mirror images to the bit
    assert torch.equal(merged(TIES(keep=1), [A, -A], zero), A.abs())


@pytest.mark.parametrize("how", [DARELinear(keep=1), DARELinear(keep=1, rescale=False)])
def test_dare_that_keeps_everything_is_task_arithmetic(how: DARELinear) -> None:
    assert torch.equal(merged(how, [A, B], BASE), merged(TaskArithmetic(), [A, B], BASE))


def test_dare_ties_that_keeps_everything_is_ties() -> None:
    assert torch.equal(merged(DARETIES(keep=1), [A, B], BASE), merged(TIES(keep=1), [A, B], BASE))


def test_the_mean_of_dare_over_seeds_is_task_arithmetic() -> None:
    mean = sum(merged(DARELinear(keep=0.5, seed=seed), [A], BASE) for seed in range(400)) / 400
    deviation = (A - BASE).abs() / 400**0.5  # of the mean: |tau| sqrt((1 - keep) / keep / seeds)
    inside = ((mean - A).abs() < 2 * deviation).float().mean()
    assert 0.93 < inside < 0.98  # 95.4 % of a normal distribution


def test_models_have_masks_of_their_own() -> None:
    found = merged(DARELinear(keep=0.5), [A, A], BASE) - BASE
    once = found.isclose((A - BASE) * 2, atol=1e-5)
    assert 0.4 < once.float().mean() < 0.6  # kept in one of the two: half of the entries


def test_breadcrumbs_that_trim_nothing_are_task_arithmetic() -> None:
    how = Breadcrumbs(smallest=0, largest=0)
    assert torch.equal(merged(how, [A, B], BASE), merged(TaskArithmetic(), [A, B], BASE))


def test_breadcrumbs_refuse_to_trim_everything() -> None:
    with pytest.raises(SettingsError, match="nothing would stay"):
        Breadcrumbs(smallest=0.6, largest=0.4)


def test_negative_weights_forget() -> None:
    torch.testing.assert_close(merged(TaskArithmetic(weights=(-1.0,)), [A], BASE), 2 * BASE - A)


def test_slerp_ends_are_the_models() -> None:
    assert torch.equal(merged(Slerp(t=0), [A, B]), A)
    assert torch.equal(merged(Slerp(t=1), [A, B]), B)


def test_slerp_of_parallel_models_is_linear() -> None:
    torch.testing.assert_close(merged(Slerp(t=0.25), [A, 3 * A]), 1.5 * A)


@pytest.mark.parametrize("name", TENSOR_MERGES)
def test_slices_give_what_the_whole_gives(name: str) -> None:
    how = merge_of(name)
    assert isinstance(how, TensorMerge)
    models = [A, B][: how.models[1]]
    base, layer = (BASE if how.base else None), (1, 2)
    whole = merged(how, models, base, layer=layer)
    # slerp sums its inner products in another order
    tolerance = {"rtol": 1e-6, "atol": 1e-7} if name == "slerp" else {"rtol": 0, "atol": 0}
    torch.testing.assert_close(merged(how, models, base, layer=layer, slice_size=77), whole, **tolerance)


@pytest.mark.parametrize("name", MERGES)
def test_every_setting_of_a_merge_says_what_it_is(name: str) -> None:
    assert all(row["description"] for row in table(find(MERGES[name])))


def test_merges_stand_in_order_of_publication() -> None:
    from truenorth.merging import describe

    papers = [found.partition("arXiv:")[2][:10] for name in MERGES if "arXiv" in (found := describe(name)["paper"])]
    assert papers == sorted(papers)


@pytest.mark.parametrize("name", MERGES)
def test_every_merge_has_its_contract(name: str) -> None:
    from truenorth.merging import describe

    assert {"title", "paper", "formula", "differs", "needs", "settings"} <= set(describe(name))


def test_misspelt_merge_names_the_nearest() -> None:
    with pytest.raises(SettingsError, match=r"no merge 'tie'\. Did you mean ties\?"):
        merge_of("tie")
