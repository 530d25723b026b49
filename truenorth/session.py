"""Everything that a run holds while it trains, built once: model, player, steps, references."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from peft import PeftModel

from .data.cache import cache_folder
from .data.loader import PlannedSteps
from .data.packing import PackedBatch
from .data.prepare import Prepared
from .data.tokens import TokenizedRows
from .errors import SettingsError
from .evaluate.progress import Watch
from .models.load import load_model, stored_dtype, with_lora
from .models.logprobs import Model, base_of
from .models.memory import Part
from .models.modes import evaluating, set_training
from .models.origin import base_of_adapter
from .models.policy import Policy, Precision, fast_precision
from .models.references import starts_as_policy
from .models.scored_references import Scores, Start, bytes_beside, follow, score_references
from .models.scores import ScoreReader
from .models.sharding import WHOLE, Sharding, local
from .models.storage import store_frozen
from .models.twin import twin_of
from .online.judge_cost import judge_cost
from .online.round_steps import RoundSteps
from .optim.state_size import state_bytes, task_bytes
from .players import SCORE, merging, player_of, slow_player
from .processes import Group
from .recipe import Recipe
from .run import Run
from .train.budget import find_budget, sentence_of
from .train.checkpoint import Progress
from .train.federated import bytes_in_rounds
from .train.first_step import FirstStep, check_first_step
from .train.step import Player
from .train.trial import MemoryTrial


@dataclass(frozen=True, slots=True)
class Session:
    """A run that is ready for its next step."""

    policy: Policy
    players: Sequence[Player]  # the policy; of two modules that chase each other both
    steps: PlannedSteps | RoundSteps
    references: Mapping[str, Scores]  # for the rows that are trained on
    held_out: TokenizedRows | None
    held_out_references: Mapping[str, Scores]
    budget: int  # tokens per micro-batch
    stored_in: torch.dtype  # of the checkpoint that the policy started from
    sharding: Sharding = WHOLE
    twin: Policy | None = None  # of the second player
    deployed: int = 0  # which of two players was the one that is the policy now

    @property
    def player(self) -> Player:
        """The policy as it is trained."""
        return self.players[0]

    @property
    def data(self) -> Group:
        """The processes that have different rows."""
        return self.sharding.processes.data

    @property
    def score_weight(self) -> torch.Tensor:
        """[1, D] of the head of scores, for the model's own states."""
        return ScoreReader.scaled(self.player.named_parameters[f"{SCORE}weight"])

    @contextmanager
    def evaluating(self) -> Generator[None]:
        """Within it nothing that is trained drops anything."""
        with evaluating(self.policy.model), evaluating((self.twin or self.policy).model):
            yield

    def first_batch(self) -> PackedBatch:
        """The largest of this process's in the first step."""
        return self.steps.batches(0, budget=self.budget, part=self.data.rank, parts=self.data.size)[0]


def begin(
    recipe: Recipe,
    run: Run,
    data: tuple[PlannedSteps, Prepared | None],
    *,
    saved: Progress | None,
    watch: Watch,
    sharding: Sharding = WHOLE,
) -> Session:
    """Load the model and make it ready to train on `data` (steps of rows to train on, held-out rows).

    `saved` is the progress of a run that is resumed: its micro-batches keep their size. Raises SettingsError or
    ModelError for what does not fit.
    """
    steps, held_out = data[0], None if data[1] is None else data[1].rows
    policy, stored_in = _policy(run, saved, sharding, watch)
    _say_of_warmup(recipe, steps.count, watch)
    player, twin = player_of(recipe, policy), None if recipe.chase is None else twin_of(policy)
    others = [] if twin is None else [slow_player(recipe, twin)]
    asked = recipe.objective.of_references
    live = recipe.schedule is not None or run.stream is not None
    start = Start(policy, run.model, cache_folder(), 0, run.trust_remote_code, sharding, asked, live)
    if saved is None:
        budget = _budget(_trial(recipe, run, [player, *others], start, steps), run, sharding, watch)
    else:
        budget = saved.budget
    start = replace(start, budget=budget)
    watch.stage("scoring the references")
    used = [(steps.rows, steps.used())] + ([] if held_out is None else [(held_out, range(len(held_out)))])
    player = replace(player, followers=follow(recipe.references, start), optimizer=merging(recipe, run, player, watch))
    with evaluating(policy.model):  # what a reference says of a row must not depend on the run's dropout
        references = score_references(recipe.references, start, used, player.followers)
    return Session(
        policy=policy,
        players=[player, *others],
        steps=steps,
        references=references[0],
        held_out=held_out,
        held_out_references=references[-1],
        budget=budget,
        stored_in=stored_in,
        sharding=sharding,
        twin=twin,
    )


def _policy(run: Run, saved: Progress | None, sharding: Sharding, watch: Watch) -> tuple[Policy, torch.dtype]:
    """The model as it is trained, and the dtype it was stored in."""
    watch.stage("loading the model")
    torch.manual_seed(run.seed)  # for a fresh adapter, the same in every process
    model, stored_in = load_policy(run)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    world = sharding.processes.world
    precision: Precision = world.first_says(fast_precision(device)) if run.precision == "auto" else run.precision
    if saved is not None:
        precision = saved.precision  # what the run began with, whatever this machine is good at
    if precision == "bfloat16":
        store_frozen(model)
    sharding.slice(model)
    policy = sharding.shard(Policy.of(sharding.move(model, device), precision))
    if policy.scorer.fallback:
        watch.said(f"Prompts are not shared with this model: {policy.scorer.fallback}. Rows are padded; it is slower.")
    if run.gradient_checkpointing:
        base_of(model).activation_checkpointing_enable()
    set_training(model, dropout=run.dropout, adapter_dropout=run.lora is not None)
    return policy, stored_in


def _say_of_warmup(recipe: Recipe, steps: int, watch: Watch) -> None:
    """Where the learning rate would hardly reach its peak."""
    if (late := recipe.update.warmup_of(steps)) >= steps:
        field = "warmup_steps" if recipe.update.warmup_steps else "warmup_share"
        watch.said(
            f"The warm-up takes {late} of the run's {steps} steps: the learning rate reaches "
            f"{recipe.update.learning_rate:g} at the end, if at all. Try --set update.{field}=0, or train for longer."
        )


def load_policy(run: Run) -> tuple[Model, torch.dtype]:
    """The model that is trained, its parameters float32 and asking for gradients, and the dtype it was stored in."""
    if run.lora is not None and base_of_adapter(run.model) is not None:
        raise SettingsError(
            f"{run.model} is an adapter already: it is trained further, with its own rank. Leave out --lora, or merge "
            "it into its base model first."
        )
    model = load_model(run.model, trust_remote_code=run.trust_remote_code)
    stored_in = stored_dtype(run.model, trust_remote_code=run.trust_remote_code)
    if run.lora is not None:
        lora = run.lora
        alpha = 2.0 * lora.rank if lora.alpha is None else lora.alpha
        model = with_lora(model, rank=lora.rank, alpha=alpha, targets=lora.targets, dropout=lora.dropout)
    elif isinstance(model, PeftModel):
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(".lora_" in name)
    else:
        model.requires_grad_(True)
    return model, stored_in


def first_step(recipe: Recipe, session: Session) -> FirstStep | None:
    """The step-0 check, where all references are the policy's own start. Its first prompts are enough."""
    if not all(map(starts_as_policy, recipe.references.values())):
        return None
    with session.evaluating():
        batch, precision = session.first_batch(), session.policy.precision
        return check_first_step(session.players, batch, session.references, precision=precision)


def _trial(recipe: Recipe, run: Run, players: Sequence[Player], start: Start, steps: PlannedSteps) -> MemoryTrial:
    """The largest micro-batch, with all beside it that a step will have."""
    sharding, model = start.sharding, start.policy.model
    trained = [p for player in players for p in player.parameters]
    shapes = [local(p).shape for p in trained]
    state = state_bytes(recipe.update, shapes, shared=sharding.sizes.shards > 1)
    later: dict[Part, int] = {
        "optimizer": state,
        "clients": bytes_in_rounds(steps, shapes, state=state, group=start.sharding.processes.data),
        "task vector": task_bytes(recipe.update, shapes),
        "references": bytes_beside(recipe.references, start),
        "judge": judge_cost(run.judge, gpu=torch.cuda.is_available()).held,
    }
    weights = list(dict.fromkeys([*model.parameters(), *trained]))
    vocabulary = base_of(model).config.get_text_config().vocab_size
    return MemoryTrial(players, steps, weights, vocabulary, later, sharding.sizes.in_step)


def _budget(trial: MemoryTrial, run: Run, sharding: Sharding, watch: Watch) -> int:
    """Tokens per micro-batch, found by running the largest one."""
    watch.stage("trying the largest micro-batch")
    world = sharding.processes.world
    budget = find_budget(trial, wanted=run.tokens_per_micro_batch, said=watch.said, world=world)
    watch.said(sentence_of(trial.parts, budget))
    return budget
