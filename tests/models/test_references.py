"""References as settings."""

import pytest

from truenorth import align
from truenorth.errors import SettingsError
from truenorth.models.references import Cached, Frozen, Moving, OtherModel, Soup, refuse_repeated


def test_references_that_differ_are_taken():
    several = {"initial": Cached(), "second": Cached(path="base"), "third": OtherModel(path="other")}
    mixed = {"fourth": Soup(path="base"), "fifth": Soup(path="base", start_share=0.25)}
    moved = {"sixth": Moving(), "seventh": Moving(every=8)}
    refuse_repeated(several | mixed | moved, start="sft")


@pytest.mark.parametrize(
    ("first", "second", "what"),
    [
        (Cached(), Frozen(), "the policy's own start"),
        (Cached(), Cached(path="sft"), "the policy's own start"),
        (Cached(), Cached(path="runs/../sft"), "the policy's own start"),
        (Cached(path="base"), OtherModel(path="base"), "the model base"),
        (Soup(path="base"), Soup(path="base"), r"a soup with base \(start_share 0\.5\)"),
        (Moving(every=4), Moving(every=4), r"the policy itself, moved every 4 steps \(share 0\.6\)"),
    ],
)
def test_two_references_that_are_one_model_are_refused(first, second, what):
    given = {"initial": first, "second": second}
    with pytest.raises(SettingsError, match=rf"initial and second are both {what}: .*--set references\.second\.path"):
        refuse_repeated(given, start="sft")


def test_a_soup_without_its_other_model_is_refused():
    with pytest.raises(SettingsError, match=r"initial is a soup .* same base: --set references\.initial\.path=\.\.\."):
        refuse_repeated({"initial": Soup()}, start="sft")


def test_a_soup_of_the_start_with_itself_is_refused():
    with pytest.raises(SettingsError, match=r"with itself, sft, which is the start again.*initial\.kind=cached"):
        refuse_repeated({"initial": Soup(path="./sft")}, start="sft")


@pytest.mark.parametrize("settings", [{"share": 0.0}, {"share": 1.1}, {"every": 0}])
def test_a_reference_that_does_not_move_is_refused(settings):
    name = next(iter(settings))
    with pytest.raises(SettingsError, match=f"Moving's {name} must"):
        Moving(**settings)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_outside_a_soup_is_refused(share):
    with pytest.raises(SettingsError, match=r"Soup's start_share must lie in \[0, 1\]"):
        Soup(path="base", start_share=share)


def test_a_run_with_two_references_that_are_one_model_is_refused_before_it_is_loaded(tmp_path):
    with pytest.raises(SettingsError, match="references initial and second are both the policy's own start"):
        align("mrpo", model="no-such-model", data=["no-such-file.jsonl"], out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
