"""COFS-DPO: continual alignment, an adapter for each domain and their sum.

Paper    Qi et al. 2024, arXiv:2406.05534
Read     reconstructed: that fast modules of domains are combined linearly, with a memory of each, is told by the
         abstract and by others; how the ratios are found, and every number, was not to be had
Loss     ofs_dpo's of each domain alone, from fresh adapters on the same base; one of its two adapters is kept.
         Then  Delta W = sum_d ratio_d B_d A_d,  ratio = argmin over [0, 1]^D of  sum_d mean over memory_d of the
         loss that both adapters share
Recipe   ours: that of ofs_dpo; 64 rows of each domain in memory, ratios by gradient
Differs  in all that was not read: where ratios may lie, the fit, the size of the memory; and as ofs_dpo does.
         `domains.within=simplex`, ratios whose sum is 1, is the other reading.
"""

from typing import Any

from ..domains import Domains
from ..recipe import Recipe
from .ofs_dpo import recipe as recipe_of_domains


def recipe(*, learning_rate: float = 1e-5, **settings: Any) -> Recipe:
    """COFS-DPO; `settings` are those of `OFSDPO`."""
    own = recipe_of_domains(learning_rate=learning_rate, **settings)
    return own.replace(method="cofs_dpo", domains=Domains())
