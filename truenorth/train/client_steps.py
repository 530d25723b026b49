"""Which rows the clients of each federated round take: a function of the seed and the round, so resuming needs only
the round."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ..clients import Clients
from ..data.loader import Passes, batches, largest
from ..data.packing import PackedBatch
from ..data.tokens import TokenizedRows
from ..errors import DataError
from ..proportions import up

Places = npt.NDArray[np.int64]
DRAWS = 2**31  # keeps the draws of clients apart from those of rows


@dataclass(frozen=True, slots=True)
class Client:
    """One of those who hold rows."""

    name: str
    places: Places  # of its rows in the data, growing; at least one


def dealt(rows: int, count: int, *, seed: int) -> list[Client]:
    """`rows` dealt by chance to `count` clients, as evenly as can be. Raises DataError where one would have none."""
    if count > rows:
        raise DataError(
            f"clients.count={count} is more than there are rows, {rows}: a client would have none. Give at most "
            f"clients.count={rows}, or more data."
        )
    order = np.random.default_rng([seed, DRAWS]).permutation(rows)
    return [Client(str(n), np.sort(part)) for n, part in enumerate(np.array_split(order, count), start=1)]


def by_owner(owners: Sequence[str]) -> list[Client]:
    """A client for each name in `owners` ([R], of each row), in the order of their first rows."""
    places = dict[str, list[int]]()
    for place, name in enumerate(owners):
        places.setdefault(name, []).append(place)
    return [Client(name, np.array(own, np.int64)) for name, own in places.items()]


class ClientSteps:
    """Federated rounds as the steps of a run: who takes part in each, and with which of its rows.

    A client goes through its own rows in a fresh order each pass, and goes on where it stood when it last took part.
    Its local steps have `batch_size` prompts, or all of its rows where they are fewer. Raises DataError where the
    share of a source leaves a client without rows.
    """

    def __init__(
        self,
        rows: TokenizedRows,
        clients: Sequence[Client],
        settings: Clients,
        *,
        batch_size: int,
        seed: int,
        length: tuple[float | None, int | None] = (None, None),  # epochs, rounds: `Run.epochs` and `max_steps`
    ) -> None:
        self.rows, self.clients, self.settings = rows, clients, settings
        self.batch_size, self.seed = batch_size, seed
        self._passes = [Passes(rows.shares[c.places], seed=seed, stream=n) for n, c in enumerate(clients)]
        if empty := [c.name for c, own in zip(clients, self._passes, strict=True) if not own.length]:
            raise DataError(f"the shares of the sources take no row of client {empty[0]}. Raise a source's share.")
        self._sizes = [min(batch_size, own.length) for own in self._passes]  # prompts of a local step
        self.each_round = settings.taking_part(len(clients))
        epochs, rounds = length
        self.prompts = settings.local_steps * self.each_round * float(np.mean(self._sizes))  # of a round, on average
        prompts = (1.0 if epochs is None else epochs) * sum(own.length for own in self._passes)
        self.count = max(1, up(prompts / self.prompts)) if rounds is None else rounds
        self._counted = (0, np.zeros(len(clients), np.int64))  # a round, and how often each took part before it

    @property
    def sentence(self) -> str:
        return (
            f"{len(self.rows):,} rows of {len(self.clients):,} clients, {self.count:,} rounds of {self.each_round:,} "
            f"clients, each with {self.settings.local_steps} local steps of {self.batch_size} prompts."
        )

    def taking_part(self, step: int) -> list[int]:
        """The clients of round `step`, 0-based like it, growing."""
        count = len(self.clients)
        if self.each_round == count:
            return list(range(count))
        draw = np.random.default_rng([self.seed, step, DRAWS])
        return sorted(draw.choice(count, self.each_round, replace=False).tolist())

    def took_part(self, step: int) -> npt.NDArray[np.int64]:
        """[clients] how often each took part before round `step`."""
        counted, times = self._counted if self._counted[0] <= step else (0, np.zeros(len(self.clients), np.int64))
        times = times.copy()
        for earlier in range(counted, step):
            times[self.taking_part(earlier)] += 1
        self._counted = (step, times)
        return times

    def weights(self, step: int) -> list[float]:
        """What the gradients of each client of round `step` count, 1 together."""
        equal = self.settings.weights == "equal"
        sizes = [1 if equal else self._passes[client].length for client in self.taking_part(step)]
        return [size / sum(sizes) for size in sizes]

    def local(self, step: int, client: int, *, budget: int) -> list[list[PackedBatch]]:
        """The micro-batches of each local step of a client that takes part in round `step`."""
        size, steps = self._sizes[client], self.settings.local_steps
        first = int(self.took_part(step)[client]) * steps * size
        starts = range(first, first + steps * size, size)
        return [list(batches(self.rows, self._taken(client, at, at + size), budget=budget)) for at in starts]

    def batches(self, step: int, *, budget: int, part: int = 0, parts: int = 1) -> list[PackedBatch]:
        """The micro-batches of round `step`'s first local steps: of every `parts`th client from the `part`th on."""
        return [
            batch
            for client in self.taking_part(step)[part::parts]
            for batch in self.local(step, client, budget=budget)[0]
        ]

    def used(self) -> Places:
        """Every row that some client takes, once, in the order of the data."""
        return self._used

    @cached_property
    def _used(self) -> Places:
        times = self.took_part(self.count)
        prompts = [int(n) * self.settings.local_steps * size for n, size in zip(times, self._sizes, strict=True)]
        own = zip(self.clients, self._passes, prompts, strict=True)
        return np.sort(np.concatenate([client.places[passes.used(taken)] for client, passes, taken in own]))

    def largest(self, *, budget: int) -> PackedBatch:
        """A micro-batch at least as large as any of the run: as if one client had the longest rows."""
        return largest(self.rows, self.used(), max(self._sizes), budget=budget)

    def _taken(self, client: int, first: int, last: int) -> list[int]:
        places = self.clients[client].places
        return [int(places[own]) for own in self._passes[client].taken(first, last)]
