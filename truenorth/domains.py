"""When rows come from several domains, one after another: what a recipe says of that, without torch."""

from typing import Literal, Self

from pydantic import model_validator

from .errors import SettingsError
from .settings import Settings, setting

Baseline = Literal["average", "plain_sum", "routing", "sequential", "joint", "replay"]
Region = Literal["box", "simplex"]
MemoryOf = Literal["trained", "unseen"]


class Domains(Settings):
    """Domains in sequence: each trains a fresh adapter on the same base, and the adapters are summed.

    Delta W = sum_d ratio_d B_d A_d. Ratios are fitted on a small memory of each domain, or given.
    """

    column: str | None = setting(
        None, "column that names a row's domain; none: each file of --data is a domain", source="ours"
    )
    order: tuple[str, ...] | None = setting(
        None, "names of the domains in the order of training; none: as they come", source="ours"
    )
    memory: int = setting(64, "rows of each domain that are kept to fit the ratios by", source="ours", ge=1)
    memory_of: MemoryOf | None = setting(
        None, "rows trained on as well, or unseen, a fifth at most; none: trained", source="ours"
    )
    within: Region | None = setting(
        None, "where fitted ratios lie: each in [0, 1], or their sum 1 too; none: box", source="ours"
    )
    fit: Literal["grid", "gradient"] | None = setting(
        None, "how ratios of sum 1 are found; none: grid for two domains, else gradient", source="ours"
    )
    ratios: tuple[float, ...] | None = setting(
        None, "one for each domain, in their order, taken as they are; none: fitted", source="ours"
    )
    rank: int | None = setting(
        None, "to which the sum is compressed by SVD; none: exact, the sum of the ranks", source="ours", ge=1
    )
    baselines: tuple[Baseline, ...] = setting(
        ("average", "plain_sum", "routing"),
        "compared with; average, plain_sum, routing train nothing, the others do",
        source="ours",
    )
    judged: int = setting(64, "held-out prompts of each domain that are answered for --judge", source="ours", ge=1)
    max_new_tokens: int = setting(128, "most tokens of such an answer", source="ours", ge=1)

    @model_validator(mode="after")
    def _one_way_to_ratios(self) -> Self:
        for name in ("fit", "within", "memory_of"):
            if self.ratios is not None and getattr(self, name) is not None:
                raise SettingsError(
                    f"domains.ratios are given, and domains.{name} is about finding others: leave one of them out."
                )
        for name in ("order", "baselines"):
            given = getattr(self, name) or ()
            if len(set(given)) < len(given):
                raise SettingsError(f"domains.{name} names one twice: {', '.join(given)}.")
        return self

    @property
    def region(self) -> Region:
        """Where ratios lie, if they are fitted."""
        return self.within or "box"

    @property
    def rows_of_memory(self) -> MemoryOf:
        """Whether they are trained on; where ratios are given there is nothing to keep them out for."""
        return self.memory_of or "trained"

    def check_count(self, count: int) -> None:
        """Raise SettingsError where there are not as many domains as these settings are for."""
        if self.ratios is not None and len(self.ratios) != count:
            raise SettingsError(
                f"domains.ratios has {len(self.ratios)} numbers for {count} domains: give one for each."
            )
        if self.fit == "grid" and count != 2:
            raise SettingsError(f"a grid is for two domains, and there are {count}: --set domains.fit=gradient.")
