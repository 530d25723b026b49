"""The methods: one paper, one file. Importing this table imports none of them, nor torch.

`recipe("exo", beta=0.2)` and `from truenorth.methods import exo; exo.recipe(beta=0.2)` give the same recipe.
"""

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import SettingsError, did_you_mean
from ..settings import find, kind_of
from .contract import contract_of, of_sum, short_title
from .saved import dump, load, override, path_of
from .terms import is_sum, terms_of

if TYPE_CHECKING:
    from ..recipe import Recipe

__all__ = ["METHODS", "credits_of", "describe", "dump", "load", "override", "path_of", "recipe"]

METHODS: Mapping[str, str] = {  # in order of publication
    "sft": "truenorth.methods.sft:recipe",
    "sft_chosen": "truenorth.methods.sft:chosen_recipe",
    "sft_chosen_sum": "truenorth.methods.sft:chosen_sum_recipe",
    "reward": "truenorth.methods.reward:recipe",
    "fedda": "truenorth.methods.fedda:recipe",
    "reward_plackett_luce": "truenorth.methods.reward:plackett_luce_recipe",
    "slic": "truenorth.methods.slic:recipe",
    "dpo": "truenorth.methods.dpo:recipe",
    "rso": "truenorth.methods.rso:recipe",
    "f_divergence_dpo": "truenorth.methods.f_divergence_dpo:recipe",
    "js_dpo": "truenorth.methods.f_divergence_dpo:jensen_shannon_recipe",
    "ipo": "truenorth.methods.ipo:recipe",
    "preference": "truenorth.methods.preference:recipe",
    "nash_md": "truenorth.methods.nash_md:recipe",
    "cpo": "truenorth.methods.cpo:recipe",
    "exo": "truenorth.methods.exo:recipe",
    "exo_rw": "truenorth.methods.exo:reward_recipe",
    "dpo_rw": "truenorth.methods.exo:forward_recipe",
    "kto": "truenorth.methods.kto:recipe",
    "online_dpo": "truenorth.methods.online_dpo:recipe",
    "nca": "truenorth.methods.nca:recipe",
    "nca_rw": "truenorth.methods.nca:reward_recipe",
    "odpo": "truenorth.methods.odpo:recipe",
    "rloo": "truenorth.methods.rloo:recipe",
    "robust_dpo": "truenorth.methods.robust_dpo:recipe",
    "orpo": "truenorth.methods.orpo:recipe",
    "bco": "truenorth.methods.bco:recipe",
    "tr_dpo": "truenorth.methods.tr_dpo:recipe",
    "tr_dpo_hard": "truenorth.methods.tr_dpo:hard_recipe",
    "filtered_dpo": "truenorth.methods.filtered_dpo:recipe",
    "sppo": "truenorth.methods.sppo_hard:rounds_recipe",
    "sppo_hard": "truenorth.methods.sppo_hard:recipe",
    "simpo": "truenorth.methods.simpo:recipe",
    "mallows_dpo": "truenorth.methods.mallows_dpo:recipe",
    "mallows_phi_dpo": "truenorth.methods.mallows_dpo:phi_recipe",
    "mrpo": "truenorth.methods.mrpo:recipe",
    "mrpo_geometric": "truenorth.methods.mrpo:geometric_recipe",
    "rpo": "truenorth.methods.rpo:recipe",
    "rpo_average": "truenorth.methods.rpo:average_recipe",
    "ondare": "truenorth.methods.online_merging:recipe",
    "onties": "truenorth.methods.online_merging:ties_recipe",
    "selm": "truenorth.methods.selm:recipe",
    "xpo": "truenorth.methods.xpo:recipe",
    "aps": "truenorth.methods.aps:recipe",
    "spac": "truenorth.methods.spac:recipe",
    "ofs_dpo": "truenorth.methods.ofs_dpo:recipe",
    "cofs_dpo": "truenorth.methods.cofs_dpo:recipe",
    "aot": "truenorth.methods.aot:recipe",
    "aot_unpaired": "truenorth.methods.aot:unpaired_recipe",
    "aihf": "truenorth.methods.aihf:recipe",
    "aihf_selfplay": "truenorth.methods.aihf_selfplay:recipe",
    "discopop": "truenorth.methods.discopop:recipe",
    "sdpo": "truenorth.methods.sdpo:recipe",
    "wpo": "truenorth.methods.wpo:recipe",
    "sail": "truenorth.methods.sail:recipe",
    "inpo": "truenorth.methods.inpo:recipe",
    "apo_zero": "truenorth.methods.apo:recipe",
    "apo_down": "truenorth.methods.apo:down_recipe",
    "ld_dpo": "truenorth.methods.ld_dpo:recipe",
    "asft": "truenorth.methods.asft:recipe",
    "upo": "truenorth.methods.upo:recipe",
    "spo": "truenorth.methods.spo:recipe",
    "mmpo": "truenorth.methods.mmpo:recipe",
    "mpo": "truenorth.methods.mpo:recipe",
    "mpo_rt": "truenorth.methods.mpo:rt_recipe",
    "salsa": "truenorth.methods.salsa:recipe",
    "salsa_rl": "truenorth.methods.salsa:rl_recipe",
    "dpo_norm": "truenorth.methods.dpo_norm:recipe",
}


def recipe(name: str, **settings: Any) -> "Recipe":
    """The recipe of a method in METHODS, of a user's own `package.module:function`, or of a sum of such.

    A sum has the references of all its parts and the update of the first; of `settings` it takes `learning_rate`.

    >>> recipe("exo", beta=0.2).objective
    EXO(beta=0.2, epsilon=0.001)
    >>> recipe("dpo + 0.2*simpo").objective.name
    'DPO + 0.2 * SimPO'
    """
    if is_sum(name):
        return _sum(name, **settings)
    if name not in METHODS and ":" not in name:
        known = ", ".join(METHODS)
        hint = did_you_mean(name, METHODS)
        raise SettingsError(
            f"There is no method {name!r}.{hint} There are {known}, package.module:function, and sums of them: "
            "'dpo + 0.2*simpo'."
        )
    return find(METHODS.get(name, name))(**settings)


def describe(name: str) -> dict[str, Any]:
    """What `truenorth methods NAME` shows: title, paper, loss, recipe, differs, needs, and a row per setting."""
    described = recipe(name)  # first, for its message where there is no such method
    if is_sum(name):
        return {"name": name, **of_sum(described, [(weight, describe(part)) for weight, part in terms_of(name)])}
    module, _, _ = METHODS.get(name, name).partition(":")
    return {"name": name, **contract_of(described, importlib.import_module(module))}


def credits_of(recipe: "Recipe") -> list[tuple[float, str, str, str]]:
    """Weight, name, title and paper of each method in a recipe: one, or the parts of a sum as they stand in it."""
    parts = getattr(recipe.objective, "parts", None) if kind_of(type(recipe.objective)) == "sum" else None
    if parts is None:
        return [(1.0, *_credit(recipe.method))]
    names = [name.strip() for name in recipe.method.split("+")]
    if len(names) != len(parts):  # a name of the user's own for the whole
        names = [kind_of(type(part.objective)) for part in parts]
    found = [(part.weight, *_credit(name)) for part, name in zip(parts, names, strict=True)]
    return [(weight, name, short_title(title), paper) for weight, name, title, paper in found]


def _credit(name: str) -> tuple[str, str, str]:
    about = describe(name) if name in METHODS else {"title": name, "paper": ""}
    return name, about["title"], about["paper"]


def _sum(name: str, **settings: Any) -> "Recipe":
    from .weighted_sum import recipe_of

    if others := set(settings) - {"learning_rate"}:
        raise SettingsError(
            f"{name!r} is a sum, and {', '.join(sorted(others))} may be a setting of any of its parts. Give the parts "
            "their settings: weighted_sum.recipe_of([(1.0, dpo.recipe(beta=0.2)), ...])."
        )
    whole = recipe_of([(weight, recipe(part)) for weight, part in terms_of(name)])
    return whole.replace(update=whole.update.replace(**settings)) if settings else whole
