"""The merges: one paper, one file. Importing this table, or a merge, imports no torch.

`merge_of("expo", alpha=0.3)` and `from truenorth.merges.expo import ExPO; ExPO(alpha=0.3)` give the same merge.
"""

from collections.abc import Mapping
from typing import Any

from ..settings import named
from ..weights.merge import Merge

MERGES: Mapping[str, str] = {  # in order of publication; those without a paper first
    "linear": "truenorth.merges.linear:Linear",
    "slerp": "truenorth.merges.slerp:Slerp",
    "adapters": "truenorth.merges.adapters:Adapters",
    "soup": "truenorth.merges.soup:Soup",
    "task_arithmetic": "truenorth.merges.task_arithmetic:TaskArithmetic",
    "ties": "truenorth.merges.ties:TIES",
    "hma": "truenorth.merges.hma:HMA",
    "dare_linear": "truenorth.merges.dare:DARELinear",
    "dare_ties": "truenorth.merges.dare:DARETIES",
    "breadcrumbs": "truenorth.merges.breadcrumbs:Breadcrumbs",
    "expo": "truenorth.merges.expo:ExPO",
}


def merge_of(name: str, **settings: Any) -> Merge:
    """The merge of a row of MERGES, or a user's own `package.module:Class`.

    >>> merge_of("expo", alpha=0.3)
    ExPO(alpha=0.3)
    """
    return merge_class(name)(**settings)


def merge_class(name: str) -> type[Merge]:
    """The class of a merge, with its settings not yet given. Raises SettingsError where there is none."""
    return named("merge", name, MERGES, Merge, "truenorth.weights.merge.Merge")
