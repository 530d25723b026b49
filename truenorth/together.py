"""Which parts of a recipe do not go together, and why: one table, asked before anything is loaded."""

from collections.abc import Collection, Mapping

from .errors import SettingsError

APART: Mapping[tuple[str, str], str] = {
    ("clients", "schedule"): "rounds of self-play make rows of the policy's own answers, and clients bring theirs",
    ("clients", "chase"): "two modules see each other in every step, and clients train one apart",
    ("clients", "domains"): "domains come one after another, and clients train side by side",
    (
        "clients",
        "update.merging",
    ): "a merging step needs a task vector, and clients step with the server's momentum alone",
    ("chase", "schedule"): "rounds of self-play are one policy's, and two modules are trained",
    ("chase", "update.merging"): "a step merges with the weights of one model, and two adapters are trained",
    ("domains", "schedule"): "domains share out rows that are there, and rounds of self-play make their own",
}


def refuse_parts_apart(method: str, parts: Collection[str]) -> None:
    """Raise SettingsError where two of a recipe's parts, named as in YAML, do not go together.

    >>> refuse_parts_apart("mine", ["clients", "domains"])
    Traceback (most recent call last):
    truenorth.errors.SettingsError: mine has `clients` and `domains`, which do not go together: domains come one ...
    """
    for (one, other), why in APART.items():
        if one in parts and other in parts:
            raise SettingsError(
                f"{method} has `{one}` and `{other}`, which do not go together: {why}. Take one of them out, or take "
                "another method: `truenorth methods` lists them."
            )
