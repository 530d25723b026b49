"""What writing trained weights in fewer bits takes from their movement, measured against the start's files."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.tiny import tiny_model
from truenorth.evaluate.saving import saving
from truenorth.train.saving import Saving

BF16, FP16 = torch.bfloat16, torch.float16
Weights = dict[str, Tensor]


def stored(folder: Path, *, architecture: str = "llama", dtype: torch.dtype = BF16, **changes: object) -> Weights:
    """The weights of a start model whose files are in `dtype`, as they are loaded."""
    model = tiny_model(architecture, seed=0, **changes)
    model.to(dtype)  # pyright: ignore[reportArgumentType]  -- annotated wrongly there
    model.save_pretrained(folder)
    return {name: tensor.float() for name, tensor in model.state_dict().items()}


def measured(folder: Path, weights: Weights, dtype: torch.dtype = BF16, architecture: str = "llama") -> Saving:
    found = saving(tiny_model(architecture), weights, str(folder), dtype)
    assert found is not None
    return found


def moved_by(start: Weights, step: Callable[[Tensor], Tensor]) -> Weights:
    return {name: tensor + step(tensor) for name, tensor in start.items()}


def test_the_numbers_are_those_worked_out_by_hand(tmp_path: Path) -> None:
    """Next to 1 bfloat16 has 1 + 2^-7; a movement of 2^-8 is a tie and goes to the even neighbour, which is 1."""
    start = stored(tmp_path)
    norm = "model.norm.weight"
    start[norm][:4] += torch.tensor([2**-7, 2**-8, 3 * 2**-9, -(2**-10)])  # norms of a fresh model are 1
    found = measured(tmp_path, start)
    assert found.moved == pytest.approx((2**-14 + 2**-16 + 9 * 2**-18 + 2**-20) ** 0.5)
    assert found.lost == pytest.approx((0 + 2**-16 + 2**-18 + 2**-20) ** 0.5)
    assert found.unchanged == 1 / 2
    assert found.weights == sum(tensor.numel() for tensor in start.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_is_lost_in_the_dtype_of_training_and_wider_ones(dtype: torch.dtype, tmp_path: Path) -> None:
    assert saving(tiny_model(), stored(tmp_path), str(tmp_path), dtype) is None


@pytest.mark.parametrize("size", [1e-6, 1e-4, 1e-2])
def test_from_a_start_on_the_grid_no_more_is_lost_than_was_moved(size: float, tmp_path: Path) -> None:
    torch.manual_seed(0)
    found = measured(tmp_path, moved_by(stored(tmp_path), lambda tensor: size * torch.randn_like(tensor)))
    assert 0 < found.lost <= found.moved


def test_what_was_moved_from_point_to_point_of_the_grid_is_all_there(tmp_path: Path) -> None:
    found = measured(tmp_path, moved_by(stored(tmp_path), lambda tensor: tensor))
    assert found.moved > 0
    assert (found.lost, found.unchanged, found.loses) == (0, 0, False)


def test_movements_below_half_a_neighbour_leave_the_start(tmp_path: Path) -> None:
    found = measured(tmp_path, moved_by(stored(tmp_path), lambda tensor: tensor * 2**-10))
    assert (found.lost, found.unchanged) == (found.moved, 1)
    assert found.loses


def test_a_model_that_did_not_move_loses_nothing(tmp_path: Path) -> None:
    found = measured(tmp_path, stored(tmp_path))
    assert (found.moved, found.lost, found.unchanged, found.share) == (0, 0, 0, 0)


def test_a_start_finer_than_the_dtype_can_lose_more_than_was_moved(tmp_path: Path) -> None:
    start = stored(tmp_path, dtype=torch.float32)
    assert measured(tmp_path, moved_by(start, lambda tensor: tensor * 2**-16)).share > 1


def test_tied_weights_count_once(tmp_path: Path) -> None:
    start = stored(tmp_path, tie_word_embeddings=True)
    start["lm_head.weight"] = start["model.embed_tokens.weight"]
    whole = sum(tensor.numel() for name, tensor in start.items() if name != "lm_head.weight")
    assert measured(tmp_path, start).weights == whole


def test_files_of_a_model_without_its_head_are_found(tmp_path: Path) -> None:
    """As GPT-2's on the hub, whose names lack `transformer.`."""
    start = stored(tmp_path, architecture="gpt2")
    file = tmp_path / "model.safetensors"
    bare = {name.removeprefix("transformer."): tensor for name, tensor in load_file(file).items()}
    assert set(bare) != set(load_file(file))
    save_file(bare, file, metadata={"format": "pt"})
    start["lm_head.weight"] = start["transformer.wte.weight"]
    whole = sum({id(tensor): tensor.numel() for tensor in start.values()}.values())
    assert measured(tmp_path, start, architecture="gpt2").weights == whole


def test_experts_that_are_stored_apart_are_left_out_and_counted(tmp_path: Path) -> None:
    start = stored(tmp_path, architecture="mixtral")
    found = measured(tmp_path, moved_by(start, lambda tensor: tensor * 2**-10), architecture="mixtral")
    experts = sum(tensor.numel() for name, tensor in start.items() if ".experts." in name)
    assert found.left_out >= experts > 0 < found.weights
    assert found.weights + found.left_out == sum(tensor.numel() for tensor in start.values())
    assert f"of {100 * found.weights / (found.weights + found.left_out):.0f}\u202f% of them" in found.said


def test_weights_that_do_not_fit_are_counted(tmp_path: Path) -> None:
    start = stored(tmp_path)
    start["model.norm.weight"][:2] = 1e5  # float16 ends at 65504
    found = measured(tmp_path, start, FP16)
    assert (found.overflowed, found.loses) == (2, True)
    assert found.lost < 1e5


def test_a_model_that_broke_is_not_measured(tmp_path: Path) -> None:
    start = stored(tmp_path)
    start["model.norm.weight"][0] = torch.nan
    assert saving(tiny_model(), start, str(tmp_path), BF16) is None


def test_it_says_that_files_could_not_be_read(tmp_path: Path) -> None:
    start = stored(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    found = measured(tmp_path, start)
    assert (found.weights, found.loses) == (0, False)
    assert found.left_out == sum(tensor.numel() for tensor in start.values())
    assert "is not known" in found.note
