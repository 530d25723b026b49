"""What needs the whole model in every process is refused where each holds a part of it."""

import pytest

from truenorth.errors import SettingsError
from truenorth.methods import recipe
from truenorth.models.sharding import Sizes
from truenorth.refusals import refuse_parts_of_a_model

WHOLE, SHARDED, SLICED = Sizes(replicas=2), Sizes(shards=2), Sizes(slices=2)
NEEDS_THE_WHOLE = {
    "spo": "SPO trains a head",
    "reward": "trains a head",
    "ofs_dpo": "ofs_dpo trains two modules",
    "online_dpo": "online_dpo plays rounds",
    "fedda": "fedda trains clients apart",
}


@pytest.mark.parametrize("method", NEEDS_THE_WHOLE)
def test_a_model_in_parts_is_refused_with_the_layout_that_is_whole(method: str) -> None:
    said = NEEDS_THE_WHOLE[method]
    with pytest.raises(SettingsError, match=rf"{said}.* held as 2 shards.* --layout data"):
        refuse_parts_of_a_model(recipe(method), SHARDED)
    with pytest.raises(SettingsError, match=rf"{said}.* held as 2 slices.* --layout data"):
        refuse_parts_of_a_model(recipe(method), SLICED)
    refuse_parts_of_a_model(recipe(method), WHOLE)


def test_a_head_that_is_off_and_a_plain_method_may_have_their_model_in_parts() -> None:
    refuse_parts_of_a_model(recipe("spo", gamma=0), SLICED)
    refuse_parts_of_a_model(recipe("dpo"), SHARDED)
