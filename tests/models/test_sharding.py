"""Layouts that do not fit are refused before a model is loaded; those that do use every process once."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import FalconConfig, LlamaConfig, MixtralConfig, Qwen3Config

from tests.tiny import PADDED, SHARING, tiny_model
from truenorth.errors import SettingsError
from truenorth.models.sharding import LayoutName, Sizes, check_slices, layers_of, sizes_of


@dataclass
class Asked:
    layout: LayoutName = "auto"
    shard_size: int | None = None
    tensor_size: int | None = None


@given(
    layout=st.sampled_from(["auto", "data", "fsdp", "tensor"]),
    count=st.integers(1, 64),
    shards=st.none() | st.integers(1, 8),
    slices=st.none() | st.integers(1, 8),
    gpu=st.booleans(),
)
def test_a_mesh_holds_all_processes_or_is_refused(
    layout: LayoutName, count: int, shards: int | None, slices: int | None, gpu: bool
) -> None:
    asked = Asked(layout, shards, slices)
    try:
        sizes = sizes_of(asked, count, gpu=gpu, adapter=False)
    except SettingsError:
        fits = count % ((shards or 1) * (slices or 1)) == 0
        wanted = {"data": shards in (None, 1) and slices in (None, 1), "tensor": shards in (None, 1)}
        assert not (fits and wanted.get(layout, True))
        return
    assert sizes.replicas * sizes.shards * sizes.slices == count
    assert shards is None or sizes.shards == shards
    assert slices is None or sizes.slices == slices


@pytest.mark.parametrize(
    ("asked", "sizes"),
    [
        (Asked("data"), Sizes(replicas=8)),
        (Asked("fsdp"), Sizes(shards=8)),
        (Asked("fsdp", shard_size=4), Sizes(replicas=2, shards=4)),
        (Asked("fsdp", tensor_size=2), Sizes(shards=4, slices=2)),
        (Asked("tensor"), Sizes(slices=8)),
        (Asked("tensor", tensor_size=4), Sizes(replicas=2, slices=4)),
    ],
)
def test_a_layout_takes_what_is_left_open(asked: Asked, sizes: Sizes) -> None:
    assert sizes_of(asked, 8, gpu=False, adapter=False) == sizes


def test_auto_shards_full_fine_tuning_on_gpus_and_nothing_else() -> None:
    assert sizes_of(Asked(), 4, gpu=True, adapter=False) == Sizes(shards=4)
    assert sizes_of(Asked(), 4, gpu=True, adapter=True) == Sizes(replicas=4)
    assert sizes_of(Asked(), 4, gpu=False, adapter=False) == Sizes(replicas=4)


def test_a_size_that_does_not_divide_is_refused_with_those_that_do() -> None:
    with pytest.raises(
        SettingsError, match=r"tensor_size is 4, which does not divide 6 processes. Allowed: 1, 2, 3, 6"
    ):
        sizes_of(Asked("tensor", tensor_size=4), 6, gpu=True, adapter=False)


def test_a_model_without_a_plan_is_not_sliced() -> None:
    with pytest.raises(SettingsError, match=r"no tensor-parallel plan for falcon models.*--layout fsdp"):
        check_slices(FalconConfig(), Sizes(slices=2))
    check_slices(FalconConfig(), Sizes(shards=2))


def test_what_torch_cannot_put_together_again_is_not_sliced() -> None:
    with pytest.raises(SettingsError, match="slices packed weights"):
        check_slices(MixtralConfig(), Sizes(slices=2))


def test_norms_between_slices_are_not_shared_out_besides() -> None:
    with pytest.raises(SettingsError, match="qwen3 models have norms"):
        check_slices(Qwen3Config(), Sizes(shards=2, slices=2))
    check_slices(Qwen3Config(), Sizes(replicas=2, slices=2))


def test_heads_are_not_torn_apart() -> None:
    with pytest.raises(SettingsError, match=r"num_key_value_heads is 2.*a size that divides 2"):
        check_slices(LlamaConfig(num_attention_heads=8, num_key_value_heads=2), Sizes(slices=4))


@pytest.mark.parametrize("architecture", [*SHARING, *PADDED])
def test_every_architecture_has_layers_to_gather_one_at_a_time(architecture: str) -> None:
    model = tiny_model(architecture)
    within = {p for layer in layers_of(model) for p in layer.parameters()}
    assert len(layers_of(model)) == 2
    assert len(within) > len(list(model.parameters())) - len(within)  # most of the model's parameters are in layers
