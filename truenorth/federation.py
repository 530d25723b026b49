"""A run of federated rounds: what is refused before its model is loaded, its clients, and what is said of them."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from .data.owners import check_column, owners_of
from .data.tokens import TokenizedRows
from .errors import SettingsError
from .processes import Group
from .recipe import Recipe
from .run import Run
from .session import Session
from .train.checkpoint import Progress
from .train.client_steps import ClientSteps, by_owner, dealt
from .train.federated import FederatedRounds
from .train.loop import Plan, Taken, one_step
from .train.step import Player

SEVERAL = 3  # clients that a sentence names


def check(recipe: Recipe, run: Run) -> None:
    """Raise DataError where the data have no column that names clients, before their rows are tokenised."""
    if recipe.clients is not None and recipe.clients.column is not None:
        check_column((source.path for source in run.data), recipe.clients.column)


def refuse_processes(each_round: int, clients: int, processes: int) -> None:
    """Raise SettingsError where a process would have no client."""
    if each_round < processes:
        raise SettingsError(
            f"{each_round} of {clients} clients take part in a round, and {processes} processes would share them out: "
            f"start at most {each_round}, or raise clients.participation."
        )


def steps_of(recipe: Recipe, run: Run, rows: TokenizedRows, group: Group) -> ClientSteps | None:
    """The rounds of a run, None of one without clients.

    Raises DataError where a client would have no row, SettingsError where a process would have no client.
    """
    if (settings := recipe.clients) is None:
        return None
    if settings.column is None:
        clients = dealt(len(rows), settings.dealt, seed=run.seed)
    else:
        clients = by_owner(owners_of(rows, [source.path for source in run.data], settings.column))
    length = (run.epochs, run.max_steps)
    steps = ClientSteps(rows, clients, settings, batch_size=run.batch_size, seed=run.seed, length=length)
    refuse_processes(steps.each_round, len(clients), group.size)
    return steps


def fingerprints(steps: ClientSteps | None) -> list[str]:
    """32 hex digits that stand for whose each row is, which a run that goes on must agree with."""
    if steps is None:
        return []
    digest = hashlib.blake2b(digest_size=16)
    for client in steps.clients:
        digest.update(f"{client.name}\n{len(client.places)}\n".encode() + client.places.tobytes())
    return [digest.hexdigest()]


def taker_of(recipe: Recipe, session: Session) -> Callable[[Sequence[Player], Plan, Progress], Taken]:
    """What takes the loop's steps: optimizer steps, or federated rounds."""
    if not isinstance(session.steps, ClientSteps):
        return one_step
    local = session.steps.settings.local_learning_rate
    return FederatedRounds(session.steps, rate=1.0 if local is None else local / recipe.update.learning_rate)


def account(steps: ClientSteps) -> list[dict[str, Any]]:
    """clients.json: each client, its rows, and in how many rounds of the whole run it takes part."""
    times = steps.took_part(steps.count).tolist()
    return [
        {"client": client.name, "rows": len(client.places), "rounds": n}
        for client, n in zip(steps.clients, times, strict=True)
    ]


def notes(steps: object) -> list[str]:
    """What one might not expect of a run's clients, and how often each takes part, in sentences."""
    if not isinstance(steps, ClientSteps):
        return []
    found = account(steps)
    often = [one["rounds"] for one in found]
    each = f"{often[0]}" if min(often) == max(often) else f"{min(often)} to {max(often)}"
    said = [f"Each of {len(found)} clients took part in {each} of {steps.count} rounds."]
    if never := [one for one in found if not one["rounds"]]:
        names = ", ".join(one["client"] for one in never[:SEVERAL]) + ", ..." * (len(never) > SEVERAL)
        said.append(
            f"{len(never)} clients took part in no round ({names}): their {sum(one['rows'] for one in never)} rows "
            "were not trained on. Raise --epochs, --max-steps or clients.participation."
        )
    return said
