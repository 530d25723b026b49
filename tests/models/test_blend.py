"""Two models in memory, mixed by blocks of layers."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.tiny import tiny_directory
from truenorth import merge
from truenorth.errors import ModelError
from truenorth.models.blend import Blend
from truenorth.models.load import load_model

CPU = torch.device("cpu")
TOKENS = torch.arange(3, 19)[None]


def two(folder: Path) -> tuple[str, str]:
    start, end = (tiny_directory(folder / name, seed=seed) for seed, name in enumerate(("start", "end")))
    return str(start), str(end)


def test_shares_of_one_and_zero_are_the_models(tmp_path: Path) -> None:
    start, end = two(tmp_path)
    blend = Blend(start, end, device=CPU)
    for share, path in ((1.0, start), (0.0, end)):
        blend.mix([share, share], share)
        mixed = dict(blend.model.named_parameters())
        assert all(torch.equal(mixed[name], p) for name, p in load_model(path).named_parameters())


def test_a_mixture_is_the_merge_with_these_shares(tmp_path: Path) -> None:
    start, end = two(tmp_path)
    out = merge("hma", [end], base=start, out=tmp_path / "out", alpha=0.3, ratios=(1, 5))
    blend = Blend(start, end, device=CPU)
    blend.mix([0.1, 0.5], 0.3)
    merged = AutoModelForCausalLM.from_pretrained(out)
    torch.testing.assert_close(blend.model(TOKENS).logits, merged(TOKENS).logits, rtol=1e-5, atol=1e-5)


def test_slopes_are_what_autograd_gives_of_the_mixture_as_a_function_of_its_shares(tmp_path: Path) -> None:
    start, end = two(tmp_path)
    blend = Blend(start, end, device=CPU)
    blend.mix([0.3, 0.5], 0.4)
    slopes = blend.slopes(2, lambda: blend.model(TOKENS, labels=TOKENS).loss.backward())
    shares = torch.tensor([0.3, 0.5], requires_grad=True)
    first, last = (dict(load_model(path).named_parameters()) for path in (start, end))
    mixed = {
        name: torch.lerp(last[name], first[name], shares[int(name.split(".")[2])] if "layers" in name else 0.4)
        for name in first
    }
    loss = torch.func.functional_call(load_model(end), mixed, (TOKENS,), {"labels": TOKENS}).loss
    assert slopes == pytest.approx(torch.autograd.grad(loss, shares)[0].tolist(), rel=1e-4)


def test_no_gradient_is_left_behind(tmp_path: Path) -> None:
    blend = Blend(*two(tmp_path), device=CPU)
    blend.slopes(2, lambda: blend.model(TOKENS, labels=TOKENS).loss.backward())
    assert all(p.grad is None and not p.requires_grad for p in blend.model.parameters())


def test_models_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    start = tiny_directory(tmp_path / "start")
    end = tiny_directory(tmp_path / "end", num_hidden_layers=3)
    with pytest.raises(ModelError, match="cannot be mixed"):
        Blend(str(start), str(end), device=CPU)
