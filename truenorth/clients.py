"""Federated rounds: the rows lie with clients, and what a server may see of them is the sum of a client's gradients.

What a paper says of them, without torch.
"""

from typing import Literal, Self

from pydantic import model_validator

from .errors import SettingsError
from .settings import Settings, setting

LOSS, DRIFT = "client_loss/", "clients/drift"  # in the log: of each client's first local step; of a round
DEALT = 10  # clients where neither their count nor a column is given


class Clients(Settings):
    """Each round some clients start from the server's weights, take local steps, and return the sum of gradients.

    One round is one step of the run: `max_steps` counts rounds, and `batch_size` the prompts of one client's local
    step. The server's optimizer is the recipe's update.
    """

    count: int | None = setting(
        None, "clients to whom rows are dealt by chance; none: 10, or those of `column`", source="ours", ge=1
    )
    column: str | None = setting(None, "column of the data whose values name the clients", source="ours")
    participation: float = setting(
        1.0, "share of the clients that take part in a round, one at least", source="ours", gt=0, le=1,
        why="without clients there is no round",
    )  # fmt: skip
    local_steps: int = setting(5, "K, steps of a client in a round, and then of the server", source="ours", ge=1)
    local_learning_rate: float | None = setting(
        None, "peak of the clients' own, on the schedule of the server's; none: the server's", source="ours", gt=0
    )
    weights: Literal["rows", "equal"] = setting("rows", "how much a client's gradients count", source="ours")

    @model_validator(mode="after")
    def _clients_come_from_one_place(self) -> Self:
        if self.count is not None and self.column is not None:
            raise SettingsError(
                f"clients.count={self.count} deals rows out by chance, and clients.column={self.column} says whose "
                "each is. Give one of them, and the other as none."
            )
        return self

    @property
    def dealt(self) -> int:
        """To how many clients rows are dealt, where no column says whose they are."""
        return DEALT if self.count is None else self.count

    def taking_part(self, clients: int) -> int:
        """How many of so many clients take part in each round.

        >>> Clients(participation=0.25).taking_part(10), Clients(participation=0.01).taking_part(10)
        (2, 1)
        """
        return max(1, round(self.participation * clients))
