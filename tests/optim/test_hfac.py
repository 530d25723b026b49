"""H-Fac: laws of its formula, against the formula written out."""

import copy

import pytest
import torch

from truenorth import methods
from truenorth.errors import SettingsError
from truenorth.models.sharding import Sharding, Sizes
from truenorth.optim import native, passes
from truenorth.optim.hfac import HFac
from truenorth.optim.state_size import state_bytes
from truenorth.optim.update import AdamW
from truenorth.processes import Processes
from truenorth.refusals import refuse_update
from truenorth.run import Run

ROWS, COLUMNS = 7, 5


def gradients(steps, rows=ROWS, columns=COLUMNS):
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(rows, columns, generator=draw) for _ in range(steps)]


def after(found, start=None, **settings):
    """A matrix after one step on each of the gradients."""
    parameter = torch.nn.Parameter(torch.zeros_like(found[0]) if start is None else start.clone())
    optimizer = HFac(**({"learning_rate": 0.1} | settings)).build([parameter])
    for gradient in found:
        parameter.grad = gradient.clone()
        optimizer.step()
    return parameter.detach()


def written_out(found, *, beta1=0.9, beta2=0.999, clip=1.0, rate=0.1):
    """The formula with whole matrices, in float64."""
    x = torch.zeros_like(found[0], dtype=torch.float64)
    (m, n), u, v, r, s = x.shape, 0.0, 0.0, 0.0, 0.0
    for t, g in enumerate((gradient.double() for gradient in found), start=1):
        b1, b2 = (b * (1 - b ** (t - 1)) / (1 - b**t) for b in (beta1, beta2))
        row, column = g.mean(1), g.mean(0)
        old_u, old_v = u, v
        u, v = b1 * u + (1 - b1) * row, b1 * v + (1 - b1) * column
        r, s = b2 * r + (1 - b2) * g.square().sum(1), b2 * s + (1 - b2) * g.square().sum(0)
        momentum = b1 * (old_u - row)[:, None] / (r / n).sqrt()[:, None] + b1 * (old_v - column) / (s / m).sqrt()
        normalised = g / (torch.outer(r, s) / r.sum()).sqrt()
        normalised = normalised / max(1.0, float(normalised.square().mean().sqrt()) / clip)
        x = x - rate * (0.5 * momentum + normalised)
    return x


def test_steps_are_the_formula_s():
    found = gradients(4)
    torch.testing.assert_close(after(found).double(), written_out(found), rtol=1e-5, atol=1e-6)


def test_blocks_change_nothing(monkeypatch):
    found = gradients(3)
    together = after(found)
    monkeypatch.setattr(passes, "AT_ONCE", 2 * COLUMNS)
    torch.testing.assert_close(after(found), together, rtol=1e-6, atol=1e-7)


def test_a_transposed_matrix_steps_as_the_matrix_does():
    found = gradients(3)
    turned = after([gradient.T.contiguous() for gradient in found])
    torch.testing.assert_close(turned.T, after(found), rtol=1e-5, atol=1e-6)


def test_the_first_step_is_the_normalised_gradient_alone():
    (gradient,) = gradients(1)
    square = gradient.square()
    size = torch.outer(square.sum(1), square.sum(0)) / square.sum()
    torch.testing.assert_close(after([gradient], learning_rate=1.0, clip=1e9), -gradient / size.sqrt())


def test_without_a_first_moment_it_is_adafactor_s_clipped_step():
    found = gradients(4)
    expected = written_out(found, beta1=0.0)
    torch.testing.assert_close(after(found, betas=(0.0, 0.999)).double(), expected, rtol=1e-5, atol=1e-6)
    assert (expected - written_out(found)).abs().max() > 1e-3  # the moment matters


def test_the_momentum_of_a_constant_gradient_vanishes():
    found = gradients(1) * 5
    torch.testing.assert_close(after(found), after(found, betas=(0.0, 0.999)), rtol=1e-5, atol=1e-6)


def test_squares_of_rank_one_are_normalised_exactly():
    rows, columns = torch.rand(ROWS) + 0.1, torch.rand(COLUMNS) + 0.1
    gradient = torch.outer(rows, columns) * torch.randn(ROWS, COLUMNS).sign()
    torch.testing.assert_close(after([gradient], learning_rate=1.0), -gradient.sign())


def test_the_normalised_gradient_is_clipped_by_its_root_mean_square():
    found = gradients(1)
    loose, tight = after(found, clip=1e9), after(found, clip=0.25)
    assert float(tight.square().mean().sqrt()) == pytest.approx(0.1 * 0.25, rel=1e-5)
    torch.testing.assert_close(tight / tight.norm(), loose / loose.norm())


def test_a_vector_is_adam_s():
    found = [gradient[0] for gradient in gradients(5)]
    parameter = torch.nn.Parameter(torch.zeros(COLUMNS))
    adam = AdamW(learning_rate=0.1, epsilon=1e-12).build([parameter])
    for gradient in found:
        parameter.grad = gradient.clone()
        adam.step()
    torch.testing.assert_close(after(found), parameter.detach(), rtol=1e-5, atol=1e-6)


def test_decay_takes_a_share_of_the_weights():
    start, found = torch.randn(ROWS, COLUMNS), [torch.zeros(ROWS, COLUMNS)]
    vector = start[0]
    torch.testing.assert_close(after(found, start, weight_decay=0.5), start * (1 - 0.1 * 0.5))
    torch.testing.assert_close(after([torch.zeros(COLUMNS)], vector, weight_decay=0.5), vector * (1 - 0.1 * 0.5))


def test_a_gradient_of_zero_is_no_step():
    assert after([torch.zeros(ROWS, COLUMNS)]).abs().max() == 0


def test_its_memory_is_a_row_s_and_a_column_s():
    shape = torch.Size([1000, 800])
    assert state_bytes(HFac(), [shape]) < 0.005 * state_bytes(AdamW(), [shape])


def test_its_state_is_counted_where_nothing_can_be_compiled(monkeypatch):
    def refused(name):
        raise AssertionError(f"{name} is compiled")

    monkeypatch.setattr(native, "_function", refused)
    assert state_bytes(HFac(compile=True), [torch.Size([8, 6])]) == state_bytes(HFac(), [torch.Size([8, 6])])


def test_going_on_from_its_state_is_going_on():
    found = gradients(6)
    first, second = (torch.nn.Parameter(torch.zeros(ROWS, COLUMNS)) for _ in range(2))
    before, resumed = (HFac(learning_rate=0.1).build([p]) for p in (first, second))
    for place, gradient in enumerate(found):
        if place == 3:
            second.data.copy_(first.data)
            resumed.load_state_dict(copy.deepcopy(before.state_dict()))
        for parameter, optimizer in ((first, before), (second, resumed)):
            parameter.grad = gradient.clone()
            optimizer.step()
    assert torch.equal(first, second)


@pytest.mark.parametrize("compiled", [False, True])
def test_weights_that_are_not_float32_are_refused(compiled):
    weights = torch.nn.Parameter(torch.zeros(4, 3, dtype=torch.bfloat16))
    with pytest.raises(SettingsError, match=r"one here is bfloat16.*Load the model in float32"):
        HFac(compile=compiled).build([weights])


def test_sliced_parameters_are_refused_before_a_model_is_loaded():
    asked, run = methods.recipe("dpo").replace(update=HFac()), Run(model="no-such", data=["no.jsonl"], out="no")
    with pytest.raises(SettingsError, match=r"hfac needs whole rows.*--layout fsdp without"):
        refuse_update(asked, run, Sharding(Sizes(slices=2), Processes(), None))
    refuse_update(asked, run, Sharding(Sizes(shards=2), Processes(), None))
