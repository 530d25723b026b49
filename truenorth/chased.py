"""A run of two modules that chase each other: what it needs, and which one is the result."""

from dataclasses import replace

from .errors import SettingsError
from .evaluate.preferences import each_held_out
from .models.origin import base_of_adapter
from .recipe import Recipe
from .run import LoRA, Run
from .session import Session
from .train.chasing import BASE, Standing
from .train.modules import ORDER


def with_adapters(recipe: Recipe, run: Run) -> Run:
    """The run with adapters where two modules share a base; they are on without being asked for.

    Raises SettingsError where all weights are to be trained, or no held-out rows could say which module is better.
    """
    if recipe.chase is None:
        return run
    if recipe.chase.deployed == "best" and not run.eval_data:
        raise SettingsError(
            "chase.deployed=best takes the module that is better on held-out rows: give --eval-data, or take "
            "chase.deployed=fast."
        )
    if run.lora is not None or base_of_adapter(run.model) is not None:
        return run
    if "lora" in run.model_fields_set:
        raise SettingsError(
            f"{recipe.method} trains two adapters on one frozen base, and run.lora=none asks for all weights. Leave "
            "it out (rank 16), or give --lora RANK. To train all weights take dpo."
        )
    return run.replace(lora=LoRA())


def settled(session: Session, recipe: Recipe, standing: Standing) -> tuple[Session, list[str]]:
    """The session whose policy is the module that is deployed, the other one its twin; and what it says of that."""
    if recipe.chase is None:
        return session, []
    place, why = standing.fast, "it is in the fast role at the end"
    if recipe.chase.deployed == "best":
        assert session.held_out is not None, "a run refuses `best` without held-out rows"
        rows, references = session.held_out, session.held_out_references
        with session.evaluating():
            found = each_held_out(session.players, rows, references, budget=session.budget, group=session.data)
        losses = [mean[BASE] for mean in found]
        place = int(losses[1] < losses[0])
        why = f"its held-out loss is {losses[place]:.4g}, the other's {losses[1 - place]:.4g}"
    said = f"The result is the {ORDER[place]} of two modules: {why}. The other one is in the folder `other`."
    if place == 0:
        return session, [said]
    assert session.twin is not None
    players = list(reversed(session.players))
    return replace(session, policy=session.twin, twin=session.policy, players=players, deployed=1), [said]
