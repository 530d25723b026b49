"""Fit the ratios of HMA's blocks, the mean share held: by the likelihood of good answers, or by a reward.

Paper    Lin et al. 2023, arXiv:2309.06256, and its code
By data  maximises the log-prob per token of the best answer of each row, by its gradient with respect to the shares.
         The code does it on samples of the aligned model that have a high reward.
By judge maximises the mean reward of answers that the merge itself draws, of which there is no gradient. That this is
         what the paper wants was read; how it searches was not: moves between two blocks are tried, ever smaller.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from pydantic import model_validator

from .ascent import Found, climb, search
from .data.files import must_exist
from .errors import SettingsError
from .merges.hma import HMA
from .settings import setting
from .sweeps.rewarded import Rewarded
from .weights.merge import Merge

if TYPE_CHECKING:
    from .data.tokens import TokenizedRows
    from .models.blend import Blend
    from .models.logprobs import Model
    from .models.policy import Policy

TOKENS_AT_ONCE = 4096  # of a forward and backward pass


class Fit(Rewarded):
    """By what ratios are fitted: rows with good answers, or prompts and a judge."""

    data: str | None = setting(None, "rows whose best answer the merge shall find likely", source="code")
    tries: int = setting(60, "mixtures that are looked at, at most", source="ours", ge=2)

    @model_validator(mode="after")
    def _one_of_two(self) -> "Fit":
        if (self.data is None) == (self.prompts is None):
            raise SettingsError("ratios are fitted either by --fit-data, or by --fit-prompts and a --judge.")
        if (self.prompts is None) != (self.judge is None):
            raise SettingsError("--fit-prompts needs a --judge of the answers to them: package.module:function.")
        return self

    def check(self) -> None:
        """Raise DataError or SettingsError for a file, or a judge, that is not there. Imports no torch."""
        if self.data is not None:
            must_exist(self.data)
        self.check_asked()


@dataclass(frozen=True, slots=True)
class Fitted:
    """HMA with the ratios found."""

    how: HMA
    found: Found
    by: str  # whose value `found` has

    def __str__(self) -> str:
        ratios = ", ".join(f"{ratio:.3g}" for ratio in self.how.ratios)
        value, start = f"{self.found.value:.4f}", f"{self.found.at_start:.4f}"
        return f"Ratios [{ratios}] were fitted to {self.by}: {value}, with equal ones {start}."


class Fitter:
    """Fits HMA between two models. They are loaded at the first fit, and stay in memory for further ones."""

    def __init__(self, model: str, base: str, asked: Fit, said: Callable[[str], None] = lambda _: None) -> None:
        self._paths, self._asked, self.said = (base, model), asked, said
        self._value: _Value | None = None

    def __call__(self, how: Merge) -> Fitted:
        """Raises SettingsError for another merge, or one with nothing to fit; ModelError where the models differ."""
        check_fit(how)
        assert isinstance(how, HMA)
        self._value = self._value or _value(self._paths, self._asked)
        value, tried, count = self._value, 0, len(how.ratios)

        def look(shares: Sequence[float]) -> Any:
            nonlocal tried
            tried += 1
            self.said(f"fitting the ratios, mixture {tried} of {self._asked.tries} at most")
            return value.of(shares, how.alpha)

        found = (climb if value.has_slopes else search)(look, how.alpha, count, tries=self._asked.tries)
        ratios = tuple(round(share / how.alpha, 9) for share in found.shares)
        return Fitted(how.replace(ratios=ratios), found, value.by)


def check_fit(how: Merge) -> None:
    """Raise SettingsError unless `how` has ratios to fit."""
    if not isinstance(how, HMA):
        raise SettingsError(f"only hma has ratios to fit, not {how.name}.")
    if not 0 < how.alpha < 1:
        raise SettingsError(f"with alpha {how.alpha:g} HMA is one of the two models, whatever the ratios.")
    if len(set(how.ratios)) > 1:
        raise SettingsError(
            f"fitting starts from equal ratios and finds others; got {list(how.ratios)}. Give as many ones as there "
            "are to be blocks, for instance --set ratios=[1,1,1,1,1,1]."
        )


@dataclass(frozen=True, slots=True)
class _Likelihood:
    """Log-prob per token of all rows' answers, and its derivative by the shares."""

    blend: "Blend"
    policy: "Policy"
    rows: "TokenizedRows"
    by: str
    has_slopes: bool = True

    def of(self, shares: Sequence[float], outside: float) -> tuple[float, list[float]]:
        from .data.loader import batches

        parts, tokens = list[float](), int(self.rows.response_lengths.sum())

        def backward() -> None:
            for batch in batches(self.rows, range(len(self.rows)), budget=TOKENS_AT_ONCE):
                part = self.policy.log_probs(batch).total.sum() / tokens
                part.backward()
                parts.append(float(part.detach()))

        self.blend.mix(shares, outside)
        slopes = self.blend.slopes(len(shares), backward)
        return sum(parts), slopes


@dataclass(frozen=True, slots=True)
class _Reward:
    """The mean reward of answers that the mixture draws, the same draws each time."""

    blend: "Blend"
    rewards: Callable[["Model"], list[float]]
    by: str
    has_slopes: bool = False

    def of(self, shares: Sequence[float], outside: float) -> float:
        self.blend.mix(shares, outside)
        return fmean(self.rewards(self.blend.model))


_Value = _Likelihood | _Reward


def _value(paths: tuple[str, str], asked: Fit) -> _Value:
    """What is maximised, with rows and prompts read before the models are."""
    import torch

    from .data.tokens import TokenizedRows
    from .evaluate.held_out_rows import read_answers
    from .models.blend import Blend
    from .models.load import load_tokenizer
    from .models.policy import Policy
    from .sweeps.yardstick import longest_of

    start, end = paths
    tokenizer, device = load_tokenizer(end), torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if asked.data is None:
        questions = asked.asked()
        assert questions is not None
        by = f"the reward of answers to {len(questions.prompts):,} prompts"
        return _Reward(Blend(start, end, device=device), lambda model: questions.rewards(model, tokenizer), by)
    rows = read_answers(asked.data, tokenizer, answers=(1, None), max_length=longest_of(end), given="--fit-data")
    best = TokenizedRows.of([replace(row, responses=row.responses[:1], scores=None) for row in rows])
    blend = Blend(start, end, device=device)
    by = f"the log-prob per token of the best answers in {asked.data}"
    return _Likelihood(blend, Policy.of(blend.model, "float32"), best, by)
