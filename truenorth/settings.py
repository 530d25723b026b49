"""Settings: frozen pydantic models that refuse what they do not know, and parts that come in several kinds.

A *part* (an objective, a reference, an update) is one of several classes. In YAML it carries `kind`: the short
name of one of ours, or `package.module:Class` for a user's own.
"""

import importlib
from collections.abc import Mapping
from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from .errors import SettingsError, did_you_mean


class Settings(BaseModel):
    """A frozen record of settings. Unknown names and values out of range raise when it is made."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)

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


def build(base: type[P], data: Mapping[str, Any], kinds: Mapping[str, str]) -> P:
    """The part that `data` describes: `data["kind"]` names a class in `kinds` or is `module:Class`.

    Raises SettingsError where the kind is missing, unknown or not a `base`, and pydantic's ValidationError (also
    a ValueError) where a field is wrong.
    """
    fields = dict(data)
    kind = fields.pop("kind", None)
    what = base.__name__.lower()
    if not isinstance(kind, str):
        raise SettingsError(f"a {what} needs `kind`, got {dict(data)}. Allowed: {', '.join(kinds)}, or module:Class.")
    if ":" not in kind and kind not in kinds:
        raise SettingsError(
            f"{kind!r} is no {what}.{did_you_mean(kind, kinds)} Allowed: {', '.join(kinds)}, or module:Class."
        )
    part = find(kinds.get(kind, kind))
    if not (isinstance(part, type) and issubclass(part, base)):
        raise SettingsError(f"{kind!r} is not a subclass of truenorth's {base.__name__}.")
    return part(**fields)


def explain(error: ValidationError, settings: type[BaseModel], *, where: str = "") -> SettingsError:
    """Pydantic's errors in our words: every wrong field with its value, what is allowed, and the nearest name."""
    lines: list[str] = []
    for problem in error.errors():
        path = ".".join([where, *map(str, problem["loc"])] if where else map(str, problem["loc"]))
        if problem["type"] == "extra_forbidden":
            known = list(settings.model_fields)
            hint = did_you_mean(str(problem["loc"][-1]), known)
            lines.append(f"{path} is not a setting of {settings.__name__}.{hint} It has: {', '.join(known)}.")
        elif problem["type"] == "value_error":
            message = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{path}: {message}" if path else message)
        else:
            lines.append(f"{path}: {problem['msg'][0].lower()}{problem['msg'][1:]}, got {problem.get('input')!r}.")
    return SettingsError("\n".join(lines))
