"""FedDA: federated learning whose momentum is apart from local training.

Paper    Jin et al. 2022, arXiv:2207.07223
Read     reconstructed: what is frozen where and what clients return is told by others; the paper and its code were
         not to be had
Loss     any, DPO's here. A client i that takes part starts at W_i = W and takes K local steps with the server's m,
             W_i <- W_i - lr_i ( b m + (1 - b) g_i ),   g_i of its own rows at W_i,   and returns P_i = sum_k g_i.
         The server takes K steps with  g = sum_i weight_i P_i / K:   m <- b m + (1 - b) g,   W <- W - lr m.
         The same with Adam's two moments, or any optimizer: a local step is a step from its frozen state.
Recipe   ours: AdamW, beta 0.9, K = 5, all clients, as many rows as are dealt to 10 of them
Differs  in all that was not read: the local step is the one that the words describe, the clip, the schedule (one
         learning rate a round), the weights (by rows), AdaGrad (`update.kind=torch`). Left out: a last phase with
         gradients of all rows. Each step, a client's and the server's, moves by a gradient clipped to
         `max_grad_norm`; what clients return is raw.
"""

from ..clients import Clients
from ..models.references import Cached
from ..optim.update import AdamW
from ..recipe import Recipe
from .dpo import DPO


def recipe(*, learning_rate: float = 1e-6, **settings: float) -> Recipe:
    """DPO in federated rounds; `settings` are those of `DPO`."""
    return Recipe(
        method="fedda",
        objective=DPO(**settings),
        references={"initial": Cached()},
        update=AdamW(learning_rate=learning_rate, decay="constant"),
        clients=Clients(),
    )
