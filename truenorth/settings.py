"""Settings: frozen pydantic models that refuse what they do not know, and parts that come in several kinds.

A *part* (an objective, a reference, an update) is one of several classes. In YAML it carries `kind`: the short
name of one of ours, or `package.module:Class` for a user's own.
"""

import importlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self, TypedDict, TypeVar, Unpack

import yaml
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer
from pydantic.fields import FieldInfo

from .errors import SettingsError, did_you_mean

Source = Literal["paper", "code", "ours"]  # where a default comes from: the paper, its authors' code, or us


class Settings(BaseModel):
    """A frozen record of settings. Unknown names and values out of range raise SettingsError when it is made."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise explain(error, type(self)) from None

    def replace(self, **changes: object) -> Self:
        """A copy with `changes`, validated (pydantic's own `model_copy(update=)` does not validate).

        >>> class Bandit(Settings):
        ...     arms: int = 2
        >>> Bandit().replace(arms=3)
        Bandit(arms=3)
        """
        return type(self)(**{name: getattr(self, name) for name in type(self).model_fields} | changes)


class Part(Settings):
    """Settings of which there are several kinds; saved with their `kind`."""

    kind: ClassVar[str] = ""  # short name; a user's own class leaves it empty and is saved as module:Class

    @model_serializer(mode="wrap")
    def _with_kind(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"kind": kind_of(type(self)), **dump(self)}


P = TypeVar("P", bound=Part)
T = TypeVar("T")


class Limits(TypedDict, total=False):
    """Bounds of a number, exclusive (gt, lt) or inclusive (ge, le)."""

    gt: float
    ge: float
    lt: float
    le: float


def setting(default: T, description: str, *, source: Source, why: str = "", **limits: Unpack[Limits]) -> T:
    """A field with a default of known source. `why` ends the message that refuses a value outside the limits.

    >>> class Bandit(Settings):
    ...     greed: float = setting(0.9, "share of best arms", source="ours", why="a share", ge=0, le=1)
    >>> Bandit(greed=2.0)
    Traceback (most recent call last):
    ...
    truenorth.errors.SettingsError: Bandit's greed must lie in [0, 1], got 2.0: a share.
    """
    return Field(default, description=description, json_schema_extra={"source": source, "why": why}, **limits)


def kind_of(part: type[Part]) -> str:
    """What `kind` says of a class: its short name if it is ours, else `module:Class`."""
    own_name = part.__dict__.get("kind", "")
    return own_name or f"{part.__module__}:{part.__qualname__}"


def find(path: str) -> Any:
    """The object at `package.module:name`, imported now.

    Raises SettingsError if there is no such module or name.
    """
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingsError(f"{path!r} cannot be imported ({error}). Give it as package.module:name.") from error


def named(what: str, name: str, kinds: Mapping[str, str], base: type[P], path: str) -> type[P]:
    """The class of a row of `kinds`, or a user's own `package.module:Class`.

    `path` is where `base` is imported from. Raises SettingsError, which calls it a `what`, for anything else.
    """
    if name not in kinds and ":" not in name:
        raise SettingsError(
            f"There is no {what} {name!r}.{did_you_mean(name, kinds)} There are {', '.join(kinds)}, and "
            "package.module:Class."
        )
    kind = find(kinds.get(name, name))
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise SettingsError(f"{name!r} is not a subclass of {path}.")
    return kind


def build(base: type[P], data: Mapping[str, Any], kinds: Mapping[str, str]) -> P:
    """The part that `data` describes: `data["kind"]` names a class in `kinds` or is `module:Class`.

    Raises SettingsError where the kind is missing, unknown or not a `base`, or where a field is wrong.
    """
    fields = dict(data)
    kind = fields.pop("kind", None)
    what, allowed = base.__name__, ", ".join([*kinds, "or package.module:Class"])
    if not isinstance(kind, str):
        raise SettingsError(f"{what} needs a `kind`, got {dict(data)}. Allowed: {allowed}.")
    if ":" not in kind and kind not in kinds:
        raise SettingsError(f"{what} has no kind {kind!r}.{did_you_mean(kind, kinds)} Allowed: {allowed}.")
    part = find(kinds.get(kind, kind))
    if not (isinstance(part, type) and issubclass(part, base)):
        raise SettingsError(f"{kind!r} is not a subclass of truenorth's {what}.")
    return part(**fields)


def table(settings: type[Settings]) -> list[dict[str, Any]]:
    """One row per setting: its name, type, default, range, source and description, all but the default as text.

    >>> class Bandit(Settings):
    ...     arms: int = setting(2, "levers to pull", source="ours", ge=1)
    >>> table(Bandit)[0]["range"]
    '[1, inf)'
    """
    properties = settings.model_json_schema()["properties"]
    return [_row(name, field, properties[name]) for name, field in settings.model_fields.items()]


def explain(error: ValidationError, settings: type[BaseModel]) -> SettingsError:
    """Pydantic's errors in our words: every wrong field with its value, what is allowed, and the nearest name."""
    name, lines = settings.__name__, list[str]()
    of = f"{name}'" if name.endswith("s") else f"{name}'s"
    for problem in error.errors():
        path, schema = _at(settings.model_json_schema(), problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        match problem["type"]:
            case "extra_forbidden":
                known = list(settings.model_fields)
                hint = did_you_mean(path, known)
                lines.append(f"{path} is not a setting of {name}.{hint} It has: {', '.join(known) or 'none'}.")
            case "missing":
                lines.append(f"{name} needs {path}: {schema.get('description', 'it has no default')}.")
            case "value_error":
                lines.append(f"{path}: {message}" if path else message)
            case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal" if _range(schema):
                why = f": {why}" if (why := schema.get("why")) else ""
                lines.append(f"{of} {path} must lie in {_range(schema)}, got {problem['input']!r}{why}.")
            case "too_short":
                lines.append(f"{of} {path} must not be empty, got {problem['input']!r}.")
            case _:
                lines.append(f"{of} {path} must be {_allowed(schema)}, got {problem['input']!r}.")
    return SettingsError("\n".join(dict.fromkeys(lines)))  # a union says the same of each of its types


def _at(whole: Mapping[str, Any], place: Sequence[int | str]) -> tuple[str, Mapping[str, Any]]:
    """The dotted path of a field, without pydantic's names for the types of a union, and its schema."""
    if not place:
        return "", {}
    names, schema = [str(place[0])], whole["properties"].get(place[0], {})
    for step in place[1:]:
        types = [variant for variant in _variants(schema) if variant.get("type") != "null"]
        if len(types) == 1:
            names.append(str(step))
            schema = types[0].get("items" if isinstance(step, int) else "additionalProperties", {})
    return ".".join(names), schema | {"$defs": whole.get("$defs", {})}


def _allowed(schema: Mapping[str, Any]) -> str:
    """What a value may be, in words: `a whole number in (0, inf) or none`."""
    words = [_words(variant, schema.get("$defs", {})) for variant in _variants(schema)]
    return " or ".join(dict.fromkeys(words))


def _words(variant: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    if "$ref" in variant:
        variant = parts[variant["$ref"].rpartition("/")[2]]
    within = f" in {span}" if (span := _range(variant)) else ""
    match variant:
        case {"enum": [*names, last]}:
            return f"{', '.join(map(str, names))} or {last}"
        case {"const": name}:
            return str(name)
        case {"title": name, "properties": fields}:
            return f"{name}'s settings" + (f" ({', '.join(fields)})" if fields else "")
        case {"type": "integer"}:
            return f"a whole number{within}"
        case {"type": "number"}:
            return f"a number{within}"
        case {"type": "array", "prefixItems": items}:
            return f"a list of {len(items)}"
        case {"type": "array"}:
            return "a list in brackets"
        case {"type": kind}:
            return {"boolean": "true or false", "string": "text", "null": "none", "object": "names with values"}[kind]
        case _:
            return "something else"


def _row(name: str, field: FieldInfo, schema: Mapping[str, Any]) -> dict[str, Any]:
    default = field.get_default(call_default_factory=True, validated_data={})
    return {
        "name": name,
        "type": _type(schema),
        "default": "required" if field.is_required() else schema.get("default", default),
        "range": _range(schema),
        "source": schema.get("source", "ours"),
        "description": schema.get("description", ""),
    }


def _variants(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The schemas that a value may follow: those of a union, or the one itself."""
    return schema.get("anyOf", [schema])


def _type(schema: Mapping[str, Any]) -> str:
    names = [" | ".join(map(str, v["enum"])) if "enum" in v else v.get("type", "object") for v in _variants(schema)]
    return " | ".join(names)


def _range(schema: Mapping[str, Any]) -> str:
    """`(0, 0.5]`, or an empty string where there are no limits."""
    for variant in _variants(schema):
        low = f"[{variant['minimum']:g}" if "minimum" in variant else f"({variant.get('exclusiveMinimum', '-inf')}"
        high = f"{variant['maximum']:g}]" if "maximum" in variant else f"{variant.get('exclusiveMaximum', 'inf')})"
        if (low, high) != ("(-inf", "inf)"):
            return f"{low}, {high}"
    return ""


def scalar(text: str) -> object:
    """The value of a setting that is given as text: YAML, but `1e-6` is a number and `none` is nothing.

    >>> scalar("1e-6"), scalar("[0.7, 0.3]"), scalar("none")
    (1e-06, [0.7, 0.3], None)
    """
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"{text!r} is no YAML value: {error}") from error
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return float(value)
    return None if value == "none" else value
