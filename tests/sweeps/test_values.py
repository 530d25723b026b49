import pytest

from truenorth.errors import SettingsError
from truenorth.sweeps.values import values_of


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("alpha=0..1:3", [0.0, 0.5, 1.0]),
        ("alpha=-1..0.5:4", [-1.0, -0.5, 0.0, 0.5]),
        ("alpha=1e-2..3e-2:3", [0.01, 0.02, 0.03]),
        ("alpha=0,0.3", [0, 0.3]),
        ("weights=[1,0],[0.5,0.5]", [[1, 0], [0.5, 0.5]]),
        ("vote=magnitude,count", ["magnitude", "count"]),
    ],
)
def test_values_as_they_are_written(text: str, values: list[object]) -> None:
    assert values_of(text) == (text.partition("=")[0], values)


def test_a_range_has_eleven_values_that_read_well() -> None:
    assert values_of("alpha=0..1")[1] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]


@pytest.mark.parametrize(
    "text", ["alpha", "=1", "alpha=", "alpha=0..1:1", "alpha=1..1", "alpha=0..e", "alpha=0.1,0.1"]
)
def test_what_is_no_sweep_is_refused_with_the_name_of_the_flag(text: str) -> None:
    with pytest.raises(SettingsError, match="--sweep"):
        values_of(text)
