"""References as settings."""

import pytest

from truenorth import align
from truenorth.errors import SettingsError
from truenorth.models.references import Cached, Frozen, OtherModel, refuse_repeated


def test_references_that_differ_are_taken():
    refuse_repeated({"initial": Cached(), "second": Cached(path="base"), "third": OtherModel(path="other")})


@pytest.mark.parametrize(
    ("second", "what"), [(Frozen(), "the policy's own start"), (OtherModel(path="base"), "the model base")]
)
def test_two_references_that_are_one_model_are_refused(second, what):
    given = {"initial": Cached(path=getattr(second, "path", None)), "second": second}
    with pytest.raises(SettingsError, match=rf"initial and second are both {what}: .*--set references\.second\.path"):
        refuse_repeated(given)


def test_a_run_with_two_references_that_are_one_model_is_refused_before_it_is_loaded(tmp_path):
    with pytest.raises(SettingsError, match="references initial and second are both the policy's own start"):
        align("mrpo", model="no-such-model", data=["no-such-file.jsonl"], out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
