"""The runs of a sequence of domains, and of what it is compared with: ordinary ones, each with its own folder."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..models.references import Cached, Frozen, Reference
from ..recipe import Recipe
from ..run import DataSource, Run
from .plan import Planned, single
from .sources import Domain

TRAINED = ("sequential", "replay", "joint")  # ways with runs of their own


@dataclass(frozen=True, slots=True)
class Stage:
    """A run, and after how many domains its model stands."""

    title: str
    recipe: Recipe
    run: Run
    after: int

    @property
    def adapter(self) -> Path:
        return self.run.out / "final"


def of_domain(plan: Planned, domain: Domain) -> Stage:
    """The domain's own run: a fresh adapter on the base, by the method as it is without domains."""
    run = _ordinary(plan.run, plan.run.out / "domains" / domain.folder, domain.trained_on).replace(
        eval_data=list(domain.held_out), samples=plan.run.samples, prompts=plan.run.prompts
    )
    title = f"Domain {domain.place + 1} of {len(plan.domains)}, {domain.name}."
    return Stage(title, plan.recipe.replace(domains=None), run, domain.place + 1)


def of_baseline(plan: Planned, way: str) -> Iterator[Stage]:
    """The runs of a baseline, each with as many steps as the domains' own have.

    sequential: one adapter is trained on from domain to domain. replay: the same, the memories of earlier domains
    among the rows. joint: all rows at once, in as many steps as all domains have together. The reference is the base
    throughout, as it is for the domains' own adapters.
    """
    recipe, out = single(plan.recipe), plan.run.out / "baselines" / way
    if way == "joint":
        rows = tuple(source for domain in plan.domains for source in domain.data)
        run = _ordinary(plan.run, out, rows).replace(epochs=None, max_steps=sum(map(plan.steps, plan.domains)))
        yield Stage("Baseline joint: all domains at once.", recipe, run, len(plan.domains))
        return
    before: Path | None = None
    for domain in plan.domains:
        earlier = plan.domains[: domain.place] if way == "replay" else ()
        rows = (*domain.data, *(DataSource(path=str(memory_of(plan, past))) for past in earlier))
        run = _ordinary(plan.run, out / domain.folder, rows).replace(epochs=None, max_steps=plan.steps(domain))
        if before is not None:
            run, recipe = run.replace(model=str(before), lora=None), _against(recipe, plan.run.model)
        stage = Stage(f"Baseline {way}, {domain.name}.", recipe, run, domain.place + 1)
        before = stage.adapter
        yield stage


def memory_of(plan: Planned, domain: Domain) -> Path:
    """The file of the rows that are kept of a domain."""
    return plan.run.out / "memory" / f"{domain.folder}.jsonl"


def _ordinary(run: Run, out: Path, data: tuple[DataSource, ...]) -> Run:
    """A run on these rows alone."""
    return run.replace(out=out, data=list(data), eval_data=[], judge=None, samples=0, prompts=None)


def _against(recipe: Recipe, base: str) -> Recipe:
    """The recipe whose references to the policy's start are to the base."""
    return recipe.replace(references={name: _of_base(found, base) for name, found in recipe.references.items()})


def _of_base(reference: Reference, base: str) -> Reference:
    own = isinstance(reference, Frozen) or (isinstance(reference, Cached) and reference.path is None)
    return Cached(path=base) if own else reference
