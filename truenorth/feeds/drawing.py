"""Who draws the answers of rounds: the model in memory, or a completion server that is given the policy each round."""

import shutil
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager

from transformers import PreTrainedTokenizerBase

from ..errors import SettingsError
from ..models.export import Final, export
from ..models.logprobs import base_of
from ..models.scored_references import Live
from ..models.sharding import whole_weights
from ..online.decoding import Mixed
from ..online.opponents import Opposed
from ..online.round_file import folder_of
from ..online.sampler import Local
from ..online.sampling import Sampler
from ..online.server import Server
from ..processes import ALONE
from ..recipe import Recipe
from ..refusals import adapts
from ..run import Run
from ..session import Session

CARD = "The policy of round {number} of a run in rounds, as the server that draws its answers was given it.\n"


def check(recipe: Recipe, run: Run) -> None:
    """Raise SettingsError for a server that would not be asked, or would answer with another policy."""
    if (asked := run.sampler) is None:
        return
    if recipe.schedule is None:
        raise SettingsError(
            f"{recipe.method} trains on rows of a file: there is nothing to draw. Leave --server out, or take a "
            "method that plays rounds (`truenorth methods`)."
        )
    if recipe.objective.opponent is not None:
        raise SettingsError(
            f"{recipe.method} judges against answers of which each token comes from a mixture of the policy and a "
            "reference, and a completion server draws from one model. Leave --server out, or take a method whose "
            "policy plays against itself: mpo, sppo."
        )
    if asked.hand_over == "none" and recipe.schedule.rounds > 1:
        raise SettingsError(
            f"the server at {asked.server.url} would answer in all {recipe.schedule.rounds} rounds with the policy of "
            "the first. Say how it takes new weights: --hand-over vllm_lora, sglang_weights, model_name, or command "
            "with --set run.sampler.command=PROGRAM (docs/sampling.md); or play one round: --rounds 1."
        )
    if asked.hand_over == "vllm_lora" and not adapts(run):
        raise SettingsError(
            "--hand-over vllm_lora gives the server an adapter, and all weights are trained. Train one (--lora 16), "
            "or give weights another way: sglang_weights, model_name, or a command of yours."
        )
    if asked.hand_over in ("sglang_weights", "model_name") and adapts(run):  # transformers serve loads no adapter
        raise SettingsError(
            f"--hand-over {asked.hand_over} gives the server all weights, and an adapter is trained. Train all "
            "weights, or give the adapter another way: vllm_lora, or a command of yours."
        )


def sampler_of(
    session: Session, run: Run, tokenizer: PreTrainedTokenizerBase
) -> tuple[Sampler, Callable[[int], None]]:
    """The sampler, and what gives it the policy as it is before it answers in a round of that 0-based number."""
    if run.sampler is None:
        return _in_memory(session, tokenizer), lambda _: None
    server = Server(run.sampler, tokenizer)

    def hand_over(number: int) -> None:
        """The policies of other rounds are removed once the server has taken this one."""
        folder = folder_of(run.out / "rounds", number) / "policy"
        weights = whole_weights(session.policy.model, ALONE)  # each process has all of them
        card = CARD.format(number=number + 1)
        export(session.policy.model, folder, Final(weights, run.model, session.stored_in, tokenizer, card))
        server.hand_over(folder, round_index=number)
        for other in folder.parent.parent.glob("*/policy"):
            if other != folder:
                shutil.rmtree(other)

    return server, hand_over if run.sampler.hand_over != "none" else lambda _: None


def _in_memory(session: Session, tokenizer: PreTrainedTokenizerBase) -> Sampler:
    """The policy, and behind its answers those of its opponent, where it has one."""
    policy, opponent = Local(session.policy.model, tokenizer), session.player.objective.opponent
    if opponent is None:
        return policy
    reference = live_of(session, opponent.reference)
    mixed = Mixed(base_of(reference.policy.model), opponent.share, reference.in_its_place)
    return Opposed(policy, mixed, opponent.answers)


@contextmanager
def answering(session: Session) -> Generator[None]:
    """Within it the policy can be asked, and the reference that it is mixed with."""
    opponent = session.player.objective.opponent
    with ExitStack() as within:
        within.enter_context(session.policy.attending_natively())
        within.enter_context(session.policy.autocast())
        if opponent is not None:
            within.enter_context(live_of(session, opponent.reference).policy.attending_natively())
        yield


def live_of(session: Session, name: str) -> Live:
    """The reference of that name, whose model is in memory as those of all rounds are."""
    reference = session.references[name]
    assert isinstance(reference, Live), "a recipe with rounds refuses what is computed before"
    return reference
