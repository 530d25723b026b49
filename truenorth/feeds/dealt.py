"""Rows that are dealt to clients, in federated rounds."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

from ..data.owners import check_column, owners_of
from ..data.prepare import Prepared
from ..errors import SettingsError
from ..evaluate.progress import Watch
from ..recipe import Recipe
from ..run import Run
from ..train.client_steps import ClientSteps, by_owner, dealt
from ..train.federated import FederatedRounds
from ..train.loop import Outcome, Plan
from .feed import Feed, Ready

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


class Dealt(Feed):
    """Rows of files, each a client's."""

    def __init__(self, ready: Ready, rows: Prepared, steps: ClientSteps) -> None:
        super().__init__(ready)
        self.rows, self.steps, self.rounds = rows, steps, steps

    @classmethod
    def of(cls, ready: Ready) -> Self:
        """Raises DataError where a client would have no row, SettingsError where a process would have no client."""
        run, settings, rows = ready.run, ready.recipe.clients, ready.given
        assert settings is not None, "a recipe with clients"
        assert rows is not None, "a run refuses a method without rows"
        if settings.column is None:
            clients = dealt(len(rows.rows), settings.dealt, seed=run.seed)
        else:
            clients = by_owner(owners_of(rows.rows, [source.path for source in run.data], settings.column))
        length = (run.epochs, run.max_steps)
        steps = ClientSteps(rows.rows, clients, settings, batch_size=run.batch_size, seed=run.seed, length=length)
        refuse_processes(steps.each_round, len(clients), ready.sharding.processes.data.size)
        return cls(ready, rows, steps)

    def records(self) -> Mapping[str, Any]:
        return {**super().records(), "clients.json": account(self.rounds)}

    def fingerprints(self) -> list[str]:
        return [fingerprint(self.rounds)]

    def planned(self, plan: Plan) -> Plan:
        own = self.rounds.settings.local_learning_rate
        rate = 1.0 if own is None else own / self.recipe.update.learning_rate
        return replace(plan, take=FederatedRounds(self.rounds, rate))

    def closed(self, outcome: Outcome, watch: Watch) -> list[str]:
        del outcome, watch
        return notes(self.rounds)


def fingerprint(steps: ClientSteps) -> str:
    """32 hex digits that stand for whose each row is."""
    digest = hashlib.blake2b(digest_size=16)
    for client in steps.clients:
        digest.update(f"{client.name}\n{len(client.places)}\n".encode() + client.places.tobytes())
    return digest.hexdigest()


def account(steps: ClientSteps) -> list[dict[str, Any]]:
    """clients.json: each client, its rows, and in how many rounds of the whole run it takes part."""
    times = steps.took_part(steps.count).tolist()
    return [
        {"client": client.name, "rows": len(client.places), "rounds": n}
        for client, n in zip(steps.clients, times, strict=True)
    ]


def notes(steps: ClientSteps) -> list[str]:
    """What one might not expect of a run's clients, and how often each takes part, in sentences."""
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
