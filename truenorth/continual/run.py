"""A run over domains from end to end: an adapter for each, their sum, what it is compared with, and the report."""

import shutil
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean

from .. import methods
from ..evaluate.continual import FILE, SUM, Continual, Ratios, matrices
from ..evaluate.continual_page import write_continual
from ..evaluate.progress import Silent, Watch
from ..job import Result, start
from ..merges.adapters import Adapters
from ..merges.compression import compressed
from ..merging import Merging
from ..online.judge import open_judge
from ..online.sampling import Sampling
from ..processes import Group, joined
from ..recipe import Recipe
from ..run import Run
from ..train.run_directory import RunDirectory, opened
from . import memory
from .gauge import START, Gauge, Notebook, Numbers
from .plan import Planned, check, planned
from .rewards import Oracle, first_prompts
from .sources import domains_of, names_of
from .ways import TRAINED, Stage, memory_of, of_baseline, of_domain

LITTLE = 0.25  # of an equal share: a ratio below it all but leaves a domain out
WHY_LEFT_OUT = {
    "simplex": "Where that is little, margins are still small and the loss is nearly linear in the ratios: train for "
    "longer, let each lie in [0, 1] by itself (--set domains.within=box), or give --set domains.ratios=[...].",
    "box": "Its adapter adds more to the loss of the others than it takes from its own: the domains contradict each "
    "other, or memory is too small to tell (--set domains.memory=N). --set domains.ratios=[...] gives ratios.",
}
NUMBERS, COMPRESSED = "measured.jsonl", "compressed"


class Interrupted(Exception):
    """A run of the sequence was stopped after a checkpoint."""


def train_domains(recipe: Recipe, run: Run, *, resume: bool, watch: Watch) -> Result:
    """Train on one domain after another, as `recipe.domains` says. Goes on as `align` does.

    Raises SettingsError, DataError or ModelError before the first model is loaded for whatever cannot work.
    """
    with joined() as world:
        watch = watch if world.first else Silent()
        names = names_of(check(recipe, run), run)
        asked = {"recipe": methods.dump(recipe), "run": run.model_dump(mode="json")}
        directory = opened(run.out, asked, resume=resume, first=world.first)
        if world.first_says(directory.finished):
            watch.said("The run is finished; nothing is left to do.")
            return Result(run.out, directory.report, interrupted=False, summary=Continual.read(run.out).to_dict())
        with directory.held():
            with _nothing_left_of_what_is_refused(directory):
                domains = world.first_says(tuple(domains_of(check(recipe, run), run, names)) if world.first else ())
                plan = planned(recipe, run, domains, world=world, watch=watch)
            directory.write_settings(asked)
            try:
                return _Sequence(plan, directory, world, watch).run()
            except Interrupted:
                return Result(run.out, None, interrupted=True, summary={})


@contextmanager
def _nothing_left_of_what_is_refused(directory: RunDirectory) -> Generator[None]:
    """A run that is refused before it began leaves no rows behind."""
    began = directory.settings.exists()
    try:
        yield
    except BaseException:
        if directory.writes and not began:
            shutil.rmtree(directory.out / "rows", ignore_errors=True)
        raise


class _Sequence:
    """The domains one after another."""

    def __init__(self, plan: Planned, directory: RunDirectory, world: Group, watch: Watch) -> None:
        self.plan, self.directory, self.world, self.watch = plan, directory, world, watch
        self.numbers = Notebook.open(directory.file(NUMBERS), plan.identity(), world)
        run, self.oracle, self.prompts = plan.run, None, {}
        if run.judge is not None:
            sampling = Sampling(max_new_tokens=plan.asked.max_new_tokens, temperature=1.0, seed=run.seed)
            self.oracle = Oracle(open_judge(run.judge), sampling, plan.tokenizer)
            self.prompts = {d.name: first_prompts(d, plan.held_out[d.name], plan.asked.judged) for d in plan.domains}
        watch.said(plan.kept.sentence)
        if not plan.held_out:
            watch.said("There is no --eval-data: what is kept and forgotten of each domain is not measured.")

    def run(self) -> Result:
        adapters, fits = list[Path](), list[Ratios]()
        for domain in self.plan.domains:
            self._train(stage := of_domain(self.plan, domain))
            adapters.append(stage.adapter)
            if self.world.first:
                kept, paths = self.plan.memory[domain.name], [source.path for source in domain.data]
                memory.write(kept, paths, memory_of(self.plan, domain))
            fits.append(self._after(adapters))
        self._write(adapters, fits[-1])
        for way in (way for way in TRAINED if way in self.plan.asked.baselines):
            for stage in of_baseline(self.plan, way):
                self._train(stage)
                gauge = self._gauge([stage.adapter])
                self.numbers.of(f"{way} {stage.after}", lambda gauge=gauge: gauge.measure(self._everywhere([1.0])))
        found = self._found(fits)
        self.directory.write(FILE, found.to_dict())
        if self.directory.writes:
            write_continual(self.directory.out)
        self.world.wait()
        return Result(self.directory.out, self.directory.report, interrupted=False, summary=found.to_dict())

    def _train(self, stage: Stage) -> None:
        """The run of a stage, from where it is. Raises Interrupted."""
        if not self.world.first_says(RunDirectory(stage.run.out).finished):
            self.watch.said(stage.title)
            began = self.world.first_says((stage.run.out / "run.yaml").exists())
            if start(stage.recipe, stage.run, resume=began, watch=self.watch).interrupted:
                raise Interrupted

    def _after(self, adapters: Sequence[Path]) -> Ratios:
        """Fit the ratios of the first domains' adapters, and measure their sum and what trains nothing besides."""
        count, names, gauge = len(adapters), self.plan.names, self._gauge(adapters)
        self.watch.stage(f"fitting the ratios of {', '.join(names[:count])}")
        fit = _ratios(self.numbers.of(f"fit {count}", lambda: _numbers(gauge.fit())))
        if count > 1:
            self.watch.said(f"Ratios of {', '.join(names[:count])}: {', '.join(f'{r:.3g}' for r in fit.ratios)}.")
        left = [name for name, ratio in zip(names, fit.ratios, strict=False) if ratio < LITTLE / count]
        if left and fit.loss is not None and fit.at_equal is not None:
            self.watch.said(
                f"The fit all but leaves {', '.join(left)} out, for a loss on memory of {fit.loss:.5f} in place of "
                f"{fit.at_equal:.5f} with equal ratios. {WHY_LEFT_OUT[self.plan.asked.region]}"
            )
        self.watch.stage("measuring every domain")
        nothing, ways = [0.0] * count, self.plan.asked.baselines
        asked = {f"{SUM} {count}": self._everywhere(fit.ratios)}
        if count == 1:
            asked = {START: self._everywhere(nothing)} | asked
        if "average" in ways:
            asked[f"average {count}"] = self._everywhere([1 / count] * count)
        if "plain_sum" in ways:
            asked[f"plain_sum {count}"] = self._everywhere([1.0] * count)
        if "routing" in ways:
            own = {name: [float(other == name) for other in names[:count]] for name in names}
            asked[f"routing {count}"] = own
        for name, ratios in asked.items() if self.plan.held_out else ():
            self.numbers.of(name, lambda ratios=ratios: gauge.measure(ratios))
        return fit

    def _write(self, adapters: Sequence[Path], fit: Ratios) -> None:
        """The sum as one adapter in `final`. Where it is compressed, what that cost is measured."""
        rank, final = self.plan.asked.rank, self.directory.final
        how = Adapters(weights=fit.ratios)
        outcome, note = how.outcome(adapters, None), f"The ratios are those of {', '.join(self.plan.names)}."
        error = 0.0
        if rank is not None:
            outcome, error = compressed(outcome, rank)
            note += f" The sum was compressed to rank {rank} by SVD, with a relative error of {error:.3g}."
            self.watch.said(f"Compressed to rank {rank}: the relative error is {error:.3g}.")
        if self.world.first and not final.exists():
            Merging(how, tuple(map(str, adapters)), None, final, None, note).write(outcome)
        self.world.wait()
        if rank is not None:
            whole = self._everywhere([1.0])
            self.numbers.of(COMPRESSED, lambda: {"error": [error]} | dict(self._gauge([final]).measure(whole)))

    def _found(self, fits: Sequence[Ratios]) -> Continual:
        names, points = self.plan.names, self.numbers.points
        ways = {way: matrices(names, points, way, START) for way in (SUM, *self.plan.asked.baselines)}
        small = None
        if (rank := self.plan.asked.rank) is not None:
            means = {name: fmean(values) for name, values in points[COMPRESSED].items()}
            small = {"rank": rank} | means
        return Continual(
            tuple(names),
            tuple(fits),
            {way: own for way, own in ways.items() if own},
            {name: len(found.rows) for name, found in self.plan.held_out.items()},
            small,
            None if self.plan.asked.ratios else self.plan.asked.region,
            self.plan.kept,
        )

    def _gauge(self, adapters: Sequence[Path]) -> Gauge:
        return Gauge(self.plan, list(adapters), self.oracle, self.prompts)

    def _everywhere(self, ratios: Sequence[float]) -> Mapping[str, Sequence[float]]:
        """The same ratios for every domain."""
        return dict.fromkeys(self.plan.names, ratios)


def _numbers(fit: Ratios) -> Numbers:
    losses = (fit.loss, fit.at_equal, fit.at_ones, fit.at_zeros)
    return {"ratios": fit.ratios, "losses": [loss for loss in losses if loss is not None]}


def _ratios(found: Numbers) -> Ratios:
    return Ratios(tuple(found["ratios"]), *found["losses"])
