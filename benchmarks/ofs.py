"""What a step of two modules costs beside DPO's with one, LoRA of the same rank: `benchmarks/ofs.py`.

Also the most that scoring both modules in one pass over the base could save: rows that stand twice in one packed
batch, against two passes, under one adapter alone. A LoRA that is split by halves would cost more than that.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import results
import torch
import transformers
from results import Result
from transformers import LlamaConfig, LlamaForCausalLM

from truenorth.data.packing import PackedBatch, pack
from truenorth.data.tokens import TokenizedRow
from truenorth.methods import recipe
from truenorth.models.load import with_lora
from truenorth.models.policy import Policy
from truenorth.models.twin import twin_of
from truenorth.players import player_of, slow_player
from truenorth.recipe import Recipe
from truenorth.train.step import Player, train_step
from truenorth.types import LogProbs

LIMITS = {"live": 1.75, "cached": 2.1}  # times DPO's step, by how its reference is had
RANK = 16


@dataclass(slots=True)
class Timed:
    """One side's steps."""

    run: Callable[[], object]
    seconds: list[float] = field(default_factory=list[float])
    work: list[float] = field(default_factory=list[float])  # processor seconds

    def step(self, *, count: bool) -> None:
        began, worked = time.perf_counter(), time.process_time()
        self.run()
        if count:
            self.seconds.append(time.perf_counter() - began)
            self.work.append(time.process_time() - worked)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--width", type=int, default=256, help="of the model")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--prompts", type=int, default=4, help="of a step")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    policy, batch = policy_of(asked.width, asked.layers, device), batch_of(asked.prompts)
    timed = sides(policy, batch)
    for i in range(2 + asked.repeats):
        for side in timed.values():
            side.step(count=i >= 2)
    for kind, limit in LIMITS.items():
        report(f"OFS-DPO / DPO, LoRA {RANK}, {kind} reference", timed[f"ofs {kind}"], timed[f"dpo {kind}"], limit)
    report("rows twice in one pass / two passes", timed["one pass"], timed["two passes"], None)


def policy_of(width: int, layers: int, device: torch.device) -> Policy:
    """A random Llama with a fresh adapter."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=4096,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        num_key_value_heads=width // 64,
    )
    model = LlamaForCausalLM(config).requires_grad_(False).eval()
    adapted = with_lora(model, rank=RANK, alpha=2.0 * RANK, targets="all-linear", dropout=0.0)
    return Policy.of(adapted.to(device), "float32")  # pyright: ignore[reportArgumentType]


def batch_of(prompts: int, copies: int = 1) -> PackedBatch:
    """Pairs of random tokens, 100 of the prompt and of each answer, each `copies` times."""
    draw = np.random.default_rng(0)

    def tokens() -> np.ndarray:
        return draw.integers(3, 4096, 100, dtype=np.int32)

    rows = [
        TokenizedRow(tokens(), (tokens(), tokens()), scores=None, columns={}, file="", row=i, key=str(i))
        for i in range(prompts)
    ]
    return pack(rows * copies)


def sides(policy: Policy, batch: PackedBatch) -> dict[str, Timed]:
    """Steps of one and of two modules, the reference computed in each or kept; and one pass against two."""
    live = reference_of(policy)
    kept = live(batch.to(policy.device))
    found: dict[str, Timed] = {}
    for kind, scores in {"live": live, "cached": lambda _: kept}.items():
        for name in ("dpo", "ofs"):
            players = players_of(recipe("dpo" if name == "dpo" else "ofs_dpo"), copied(policy))
            references = {"initial": scores}
            found[f"{name} {kind}"] = Timed(lambda p=players, r=references: train_step(p, [batch], r))
    twice = batch_of(batch.prompts, copies=2)
    found["one pass"] = Timed(lambda: passed(policy, [twice]))
    found["two passes"] = Timed(lambda: passed(policy, [batch, batch]))
    return found


def copied(policy: Policy) -> Policy:
    return twin_of(replace(policy, model=copy.copy(policy.model)))


def reference_of(policy: Policy) -> Callable[[PackedBatch], LogProbs]:
    """The policy without its adapter, as `models.references.Frozen` has it."""

    @torch.no_grad()
    def scores(batch: PackedBatch) -> LogProbs:
        with policy.model.disable_adapter():  # pyright: ignore[reportGeneralTypeIssues, reportAttributeAccessIssue, reportOptionalContextManager]
            return policy.log_probs(batch)

    return scores


def players_of(asked: Recipe, policy: Policy) -> list[Player]:
    first = player_of(asked, policy)
    return [first] if asked.chase is None else [first, slow_player(asked, twin_of(policy))]


def passed(policy: Policy, batches: Sequence[PackedBatch]) -> None:
    """Score the batches, then one backward pass, as a step does."""
    torch.stack([policy.log_probs(batch).total.sum() for batch in batches]).sum().backward()
    policy.model.zero_grad(set_to_none=True)


def report(what: str, ours: Timed, theirs: Timed, limit: float | None) -> None:
    """One line, and a row of results.csv."""
    medians = [statistics.median(times) for times in (ours.seconds, theirs.seconds, ours.work, theirs.work)]
    ratio, work = medians[0] / medians[1], medians[2] / medians[3]
    aim = "" if limit is None else f"  at most {limit:g}"
    print(f"{what:44s} {medians[0]:7.3f} / {medians[1]:7.3f} s  {ratio:5.2f}x (processor time {work:.2f}x){aim}")
    results.append(
        Result(
            date=results.now(),
            commit=results.commit(),
            machine=results.machine(),
            versions=f"torch {torch.__version__} transformers {transformers.__version__}",
            setting=what,
            ours=medians[0],
            theirs=medians[1],
            ours_spread=results.spread(ours.seconds),
            theirs_spread=results.spread(theirs.seconds),
            ratio=1 / ratio,
            work_ratio=1 / work,
            ours_peak_gb=0.0,
            theirs_peak_gb=0.0,
            repeats=len(ours.seconds),
            note=f"{torch.get_num_threads()} threads",
        )
    )


if __name__ == "__main__":
    main()
