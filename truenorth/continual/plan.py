"""A run over domains before its first one: what cannot work is refused, and all rows are prepared."""

from collections.abc import Mapping
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from ..data.prepare import Prepared, prepare
from ..domains import Domains
from ..errors import DataError, SettingsError
from ..evaluate.continual import Memory
from ..evaluate.progress import Watch
from ..feeds.stored import steps_of
from ..job import data_settings
from ..methods.ofs_dpo import FastSlow
from ..models.load import context_of, load_tokenizer
from ..models.origin import base_of_adapter, fingerprint
from ..processes import Group
from ..recipe import Recipe
from ..refusals import refuse_long_rows
from ..run import DataSource, Run, shares_of
from ..settings import kind_of
from .memory import Row, reservoir, rows_of
from .sources import Domain
from .unseen import apart


@dataclass(frozen=True, slots=True)
class Planned:
    """The domains with their rows."""

    recipe: Recipe
    run: Run
    asked: Domains
    tokenizer: PreTrainedTokenizerBase
    domains: tuple[Domain, ...]
    rows: Mapping[str, Prepared]  # all of each
    trained_on: Mapping[str, Prepared]  # by the domain's own run: all, or what unseen memory leaves
    held_out: Mapping[str, Prepared]  # of the domains that have such rows: all or none
    memory: Mapping[str, list[Row]]

    @property
    def names(self) -> list[str]:
        return [domain.name for domain in self.domains]

    @property
    def kept(self) -> Memory:
        """How many rows are remembered."""
        rows = {name: len(kept) for name, kept in self.memory.items()}
        return Memory(self.asked.rows_of_memory, rows, {n: len(rows_of(found.rows)) for n, found in self.rows.items()})

    def steps(self, domain: Domain) -> int:
        """Optimizer steps of its run."""
        return steps_of(self.run, self.trained_on[domain.name].rows).count

    def identity(self) -> dict[str, object]:
        """What must stay as it is from a kill to the run that goes on."""
        rows = {f"rows of {name}": found.rows.identity for name, found in self.rows.items()}
        held_out = {f"held-out rows of {name}": found.rows.identity for name, found in self.held_out.items()}
        return {"model": fingerprint(self.run.model), **rows, **held_out}


def single(recipe: Recipe) -> Recipe:
    """The recipe without domains, and of one module: with the loss that two share where they chase each other."""
    if recipe.chase is None:
        return recipe.replace(domains=None)
    assert isinstance(recipe.objective, FastSlow), "a recipe refuses a chase of anything else"
    inner = recipe.objective.inner
    return recipe.replace(method=kind_of(type(inner)), objective=inner, chase=None, domains=None)


def check(recipe: Recipe, run: Run) -> Domains:
    """The settings of the domains. Raises SettingsError for a run that cannot go over domains."""
    asked = recipe.domains
    assert asked is not None
    if not run.data:
        raise SettingsError(
            f"{recipe.method} needs rows of several domains: --data A.jsonl B.jsonl, or --data rows.jsonl --set "
            "domains.column=NAME."
        )
    objective = recipe.objective
    if objective.score_head is not None or objective.degree_head is not None:
        raise SettingsError(
            f"{recipe.method} trains a head beside the model: there is no sum of that over domains. "
            "Take a method that trains a policy on rows (`truenorth methods`), or leave `domains` out."
        )
    if base_of_adapter(run.model) is not None:
        raise SettingsError(
            f"{run.model} is an adapter, and each domain trains a fresh one on the same base. Merge it into its base "
            "first (PEFT's merge_and_unload)."
        )
    if run.lora is None:
        raise SettingsError(f"{recipe.method} sums the adapters of domains: give their rank, for instance --lora 16.")
    if run.judge is not None:
        run.judge.check_place()
        if run.judge.answers_at_once != 1 or not run.eval_data:
            raise SettingsError(
                "--judge rewards answers to held-out prompts of each domain: it must be one that gives rewards (a "
                "reward model, or a function of prompt and answer), and --eval-data must be given."
            )
    return asked


def planned(recipe: Recipe, run: Run, domains: tuple[Domain, ...], *, world: Group, watch: Watch) -> Planned:
    """Prepare the rows of every domain. Raises DataError or SettingsError for whatever would stop a later one."""
    assert recipe.domains is not None
    tokenizer = load_tokenizer(run.model, chat_template=run.chat_template, trust_remote_code=run.trust_remote_code)
    settings = data_settings(recipe, run)

    def prepared(sources: tuple[DataSource, ...]) -> Prepared:
        return world.in_turn(lambda: prepare(shares_of(sources), tokenizer, settings=settings, said=watch.stage))

    rows, trained_on, held_out = dict[str, Prepared](), dict[str, Prepared](), dict[str, Prepared]()
    parted, memory = list[Domain](), dict[str, list[Row]]()
    for domain in domains:
        watch.stage(f"reading the data of {(name := domain.name)}")
        rows[name] = prepared(domain.data)
        if domain.held_out:
            held_out[name] = prepared(domain.held_out)
        # the first alone: it may write files
        own, memory[name] = world.first_says(
            _remembering(domain, rows[name], recipe.domains, run) if world.first else (domain, [])
        )
        parted.append(own)
        trained_on[name] = prepared(own.rest) if own.rest else rows[name]
    context = context_of(run.model, trust_remote_code=run.trust_remote_code)
    refuse_long_rows(run, context, [*rows.values(), *held_out.values()])
    return Planned(recipe, run, recipe.domains, tokenizer, tuple(parted), rows, trained_on, held_out, memory)


def _remembering(domain: Domain, found: Prepared, asked: Domains, run: Run) -> tuple[Domain, list[Row]]:
    """The domain, with what is left to train on, and the rows that are kept. Raises DataError where it has too few."""
    if asked.rows_of_memory == "unseen":
        return apart(domain, found, asked.memory, seed=run.seed, folder=run.out / "rows" / "trained_on")
    there = rows_of(found.rows)
    if len(there) < asked.memory:
        raise DataError(
            f"domains.memory keeps {asked.memory} rows of each domain, and {domain.name} has {len(there)} that can be "
            f"trained on: --set domains.memory={len(there)}, or fewer."
        )
    return domain, reservoir(there, asked.memory, seed=run.seed, name=domain.name)
