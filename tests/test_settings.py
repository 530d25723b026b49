"""Settings: what they refuse, how they say it, and how parts are saved and built."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from truenorth.errors import SettingsError
from truenorth.settings import Part, Settings, build, find, kind_of, setting, table


class Engine(Part):
    """A part with two kinds."""


class Petrol(Engine):
    kind = "petrol"
    litres: float = setting(1.6, "displacement", source="ours", gt=0)


class Steam(Engine):
    """A user's own."""

    bar: float = 10.0


class Car(Settings):
    """A record with every sort of field."""

    name: str = Field(description="what it is called")
    doors: int = setting(4, "ways in", source="code", why="a car has some", ge=2, le=5)
    tank: Annotated[float, Field(gt=0)] | None = None
    colour: Literal["red", "blue"] = "red"
    engine: Engine = Petrol()


KINDS = {"petrol": f"{__name__}:Petrol"}


def test_misspelt_name_is_refused_with_the_nearest():
    with pytest.raises(SettingsError, match=r"dors is not a setting of Car\. Did you mean doors\?"):
        Car(name="a", dors=3)


def test_missing_setting_is_named_with_its_meaning():
    with pytest.raises(SettingsError, match="Car needs name: what it is called"):
        Car()


def test_value_out_of_range_is_refused_with_the_range_and_the_reason():
    with pytest.raises(SettingsError, match=r"Car's doors must lie in \[2, 5\], got 6: a car has some\."):
        Car(name="a", doors=6)


def test_range_inside_an_optional_is_told_too():
    with pytest.raises(SettingsError, match=r"Car's tank must lie in \(0, inf\), got -1\."):
        Car(name="a", tank=-1)


def test_value_not_in_a_choice_is_refused_with_the_choice():
    with pytest.raises(SettingsError, match="Car's colour must be red or blue, got 'green'"):
        Car(name="a", colour="green")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(number):
    with pytest.raises(SettingsError, match=r"Petrol's litres must be a number.*, got (nan|inf)\."):
        Petrol(litres=number)


def test_every_wrong_setting_is_told_at_once():
    with pytest.raises(SettingsError) as caught:
        Car(name="a", doors=6, colour="green")
    assert len(str(caught.value).splitlines()) == 2


def test_error_in_a_nested_record_says_where():
    class Garage(Settings):
        cars: list[Car]

    with pytest.raises(SettingsError, match=r"cars\.1: Car's doors must lie in"):
        Garage(cars=[{"name": "a"}, {"name": "b", "doors": 9}])


def test_settings_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Car(name="a").doors = 3


def test_replace_changes_what_it_is_told_and_nothing_else():
    car = Car(name="a", tank=50, engine=Steam())
    assert car.replace(doors=2) == Car(name="a", tank=50, engine=Steam(), doors=2)


def test_replace_validates():
    with pytest.raises(SettingsError, match="Car's doors must lie in"):
        Car(name="a").replace(doors=0)


def test_replace_refuses_unknown_names():
    with pytest.raises(SettingsError, match=r"Did you mean doors\?"):
        Car(name="a").replace(door=3)


def test_our_part_is_saved_with_its_short_kind():
    assert Petrol().model_dump() == {"kind": "petrol", "litres": 1.6}


def test_users_part_is_saved_with_module_and_class():
    assert Steam().model_dump() == {"kind": f"{__name__}:Steam", "bar": 10.0}


def test_short_kind_is_not_inherited():
    class Diesel(Petrol):
        """A user's own, made from ours."""

    assert kind_of(Diesel).endswith("Diesel")


@pytest.mark.parametrize("engine", [Petrol(litres=2.0), Steam(bar=3.0)], ids=["ours", "users"])
def test_part_is_built_from_what_it_was_saved_as(engine):
    assert build(Engine, engine.model_dump(), KINDS) == engine


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "Engine needs a `kind`, got {}. Allowed: petrol, or package.module:Class."),
        ({"kind": "petro"}, "Engine has no kind 'petro'. Did you mean petrol?"),
        ({"kind": "builtins:int"}, "'builtins:int' is not a subclass of truenorth's Engine"),
        ({"kind": "nowhere:X"}, "'nowhere:X' cannot be imported"),
        ({"kind": "petrol", "litre": 1}, "litre is not a setting of Petrol. Did you mean litres?"),
    ],
)
def test_build_says_what_is_wrong(data, message):
    with pytest.raises(SettingsError) as caught:
        build(Engine, data, KINDS)
    assert message in str(caught.value)


@pytest.mark.parametrize("path", ["nowhere:X", "math:nothing", "math", ""])
def test_find_refuses_what_cannot_be_imported(path):
    with pytest.raises(SettingsError, match=r"Give it as package\.module:name"):
        find(path)


def test_find_gives_the_object():
    import math

    assert find("math:pi") is math.pi


def test_table_has_a_row_per_setting_with_type_range_and_source():
    rows = {row["name"]: (row["type"], row["default"], row["range"], row["source"]) for row in table(Car)}
    assert rows == {
        "name": ("string", "required", "", "ours"),
        "doors": ("integer", 4, "[2, 5]", "code"),
        "tank": ("number | null", None, "(0, inf)", "ours"),
        "colour": ("red | blue", "red", "", "ours"),
        "engine": ("object", {"kind": "petrol", "litres": 1.6}, "", "ours"),
    }
