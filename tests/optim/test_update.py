"""Updates: the learning rate over time, and the torch optimizer that comes out."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from truenorth.errors import SettingsError
from truenorth.optim.update import UPDATES, AdamW, RMSprop, TorchOptimizer, Update
from truenorth.settings import find

STEPS = 100


def rates(update, steps=STEPS):
    return [update.learning_rate_at(step, steps) for step in range(steps)]


def weights():
    return [torch.nn.Parameter(torch.tensor([1.0, -2.0]))]


def stepped(optimizer, parameter):
    """`parameter` after two steps on fixed gradients."""
    for gradient in ([0.5, -0.25], [0.1, 2.0]):
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
    return parameter.detach()


def test_first_step_of_a_warm_up_already_learns():
    assert rates(AdamW(learning_rate=1.0, warmup_steps=10))[0] == pytest.approx(0.1)


def test_warm_up_is_linear_and_ends_at_the_peak():
    warmup = rates(AdamW(learning_rate=1.0, warmup_steps=10))[:10]
    assert warmup == pytest.approx([(step + 1) / 10 for step in range(10)])


def test_constant_stays_at_the_peak():
    assert rates(AdamW(learning_rate=2.0, decay="constant")) == [2.0] * STEPS


def test_linear_decay_would_reach_zero_one_step_after_the_last():
    assert rates(AdamW(learning_rate=1.0, decay="linear")) == pytest.approx(
        [1 - step / STEPS for step in range(STEPS)]
    )


def test_cosine_decay_is_at_half_in_the_middle():
    assert rates(AdamW(learning_rate=1.0, decay="cosine"))[STEPS // 2] == pytest.approx(0.5)


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_decay_starts_where_the_warm_up_ends(decay):
    assert rates(AdamW(learning_rate=1.0, warmup_steps=10, decay=decay))[10] == pytest.approx(1.0)


def test_warm_up_by_share_is_that_by_steps():
    by_share = AdamW(warmup_share=0.07, decay="cosine")
    assert rates(by_share) == rates(AdamW(warmup_steps=7, decay="cosine"))


def test_any_share_warms_up_for_a_step_at_least():
    assert AdamW(learning_rate=1.0, warmup_share=0.01).learning_rate_at(0, 10) == 1.0


def test_warm_up_longer_than_the_run_never_reaches_the_peak():
    assert rates(AdamW(learning_rate=1.0, warmup_steps=150))[-1] == pytest.approx(100 / 150)


def test_warm_up_by_steps_and_by_share_is_refused():
    with pytest.raises(SettingsError, match=r"not both: got 5 and 0\.1"):
        AdamW(warmup_steps=5, warmup_share=0.1)


@given(
    st.sampled_from(["constant", "linear", "cosine"]),
    st.integers(0, 30),
    st.integers(1, 60),
)
def test_learning_rate_is_positive_and_at_most_the_peak_in_every_step(decay, warmup, steps):
    update = AdamW(learning_rate=1.0, warmup_steps=warmup, decay=decay)
    assert all(0 < rate <= 1.0 for rate in rates(update, steps))


@pytest.mark.parametrize("value", [0.0, -1e-6, float("nan")])
def test_learning_rate_that_cannot_learn_is_refused(value):
    with pytest.raises(SettingsError, match="AdamW's learning_rate"):
        AdamW(learning_rate=value)


def test_adamw_is_torchs_with_our_settings():
    ours, theirs = weights(), weights()
    update = AdamW(learning_rate=0.1, betas=(0.8, 0.9), epsilon=1e-3, weight_decay=0.2)
    reference = torch.optim.AdamW(theirs, lr=0.1, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.2)
    # One pass over the weights rounds in another order than torch's loop of operations does.
    assert torch.allclose(stepped(update.build(ours), ours[0]), stepped(reference, theirs[0]), rtol=1e-6, atol=0)


def test_rmsprop_is_torchs_with_our_settings():
    ours, theirs = weights(), weights()
    reference = torch.optim.RMSprop(theirs, lr=0.1, alpha=0.9, eps=1e-3)
    built = RMSprop(learning_rate=0.1, alpha=0.9, epsilon=1e-3).build(ours)
    assert torch.equal(stepped(built, ours[0]), stepped(reference, theirs[0]))


def test_any_torch_optimizer_may_be_named():
    built = TorchOptimizer(optimizer="torch.optim:SGD", arguments={"momentum": 0.9}, learning_rate=0.1).build(
        weights()
    )
    assert isinstance(built, torch.optim.SGD)
    assert (built.defaults["lr"], built.defaults["momentum"]) == (0.1, 0.9)


@pytest.mark.parametrize("path", ["torch.optim:Nothing", "torch.nn:Linear", "torch.optim:SDG"])
def test_optimizer_that_is_none_is_refused(path):
    with pytest.raises(SettingsError):
        TorchOptimizer(optimizer=path)


@pytest.mark.parametrize("arguments", [{"momentun": 0.9}, {"momentum": -1.0}])
def test_arguments_that_an_optimizer_does_not_take_are_refused_before_there_are_weights(arguments):
    with pytest.raises(SettingsError, match=r"torch.optim:SGD does not take \{'moment.*: "):
        TorchOptimizer(optimizer="torch.optim:SGD", arguments=arguments)


@pytest.mark.parametrize("name", UPDATES)
def test_every_update_is_saved_under_its_name_in_the_table(name):
    update = find(UPDATES[name])
    assert issubclass(update, Update)
    assert update.kind == name
