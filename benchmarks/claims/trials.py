"""What one run of a sweep tries."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trial:
    method: str
    answers: int  # to a prompt, K
    beta: float
    learning_rate: float
    seed: int  # of the answers drawn and of their order

    @property
    def arm(self) -> tuple[str, int]:
        return self.method, self.answers

    @property
    def of_rewards(self) -> bool:
        """Whether the method reads rewards, not just which of two answers is better."""
        return self.method.endswith("_rw")

    @property
    def name(self) -> str:
        return f"{self.method}-k{self.answers}-beta{self.beta:g}-rate{self.learning_rate:g}-seed{self.seed}"


@dataclass(frozen=True, slots=True)
class PairTrial:
    method: str
    pairs: int  # that are trained on
    learning_rate: float
    seed: int  # of the pairs and of their order

    @property
    def name(self) -> str:
        return f"{self.method}-{self.pairs}pairs-rate{self.learning_rate:g}-seed{self.seed}"
