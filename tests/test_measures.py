"""The engine measures what an objective reads and nothing else."""

import pytest
import torch

from tests.tiny import rows_of, tiny_model
from truenorth.data.packing import pack
from truenorth.data.tokens import TokenizedRows
from truenorth.methods import recipe
from truenorth.models import head
from truenorth.models.policy import Policy
from truenorth.models.references import Cached, Frozen, Moving
from truenorth.models.scored_references import Start, follow, score_references
from truenorth.players import player_of
from truenorth.types import Measures

ROWS = rows_of([(6, (5, 3)), (4, (7, 2))])


def given(log_probs) -> Measures:
    return frozenset(name for name in ("tokens", "entropy", "collision") if getattr(log_probs, name) is not None)


def start(tmp_path, **asked) -> Start:
    policy = Policy.of(tiny_model().requires_grad_(True), "float32")
    return Start(policy, "start", tmp_path, budget=100, **asked)


@pytest.mark.parametrize(
    ("name", "measures"),
    [("dpo", set()), ("ld_dpo", {"tokens"}), ("wpo", {"collision"}), ("ld_dpo + wpo", {"tokens", "collision"})],
)
def test_the_policy_gives_what_its_objective_reads(name, measures):
    player = player_of(recipe(name), Policy.of(tiny_model().requires_grad_(True), "float32"))
    assert given(player.log_probs(pack(ROWS))) == measures


@pytest.mark.parametrize(
    ("name", "measures"), [("dpo", set()), ("ld_dpo", {"tokens"}), ("wpo", set()), ("mallows_dpo", {"entropy"})]
)
@pytest.mark.parametrize("reference", [Cached(), Frozen(), Moving()])
def test_a_reference_gives_what_the_objective_reads(name, measures, reference, tmp_path, monkeypatch):
    monkeypatch.setattr("truenorth.models.scored_references.fingerprint", lambda path: path)
    begin = start(tmp_path, asked=recipe(name).objective.of_references)
    used = [(TokenizedRows.of(ROWS), [0, 1])]
    references = {"initial": reference}
    (scores,) = score_references(references, begin, used, follow(references, begin))
    found, batch = scores["initial"](pack(ROWS)), pack(ROWS)
    assert given(found) == measures
    assert not found.total.requires_grad
    if "tokens" in measures:
        sums = torch.zeros(4).index_add(0, batch.owner, found.tokens).view(2, 2)
        assert torch.allclose(sums, found.total, rtol=0, atol=1e-4)


def test_dpo_costs_one_pass_of_the_head_and_measures_no_distribution(monkeypatch):
    calls = []
    token_scores = head.Head.token_scores

    def counted(self, hidden, targets, measures=()):
        calls.append(measures)
        return token_scores(self, hidden, targets, measures)

    player = player_of(recipe("dpo"), Policy.of(tiny_model().requires_grad_(True), "float32"))
    monkeypatch.setattr(head.Head, "token_scores", counted)
    player.log_probs(pack(ROWS)).total.sum().backward()
    assert calls == [()]


def test_tokens_carry_the_policys_gradients_as_totals_do():
    gradients = []
    for read in (lambda scored: scored.tokens, lambda scored: scored.total):
        player = player_of(recipe("ld_dpo"), Policy.of(tiny_model().requires_grad_(True), "float32"))
        read(player.log_probs(pack(ROWS))).sum().backward()
        gradients.append([p.grad for p in player.parameters])
    assert all(torch.allclose(*pair, rtol=0, atol=1e-5) for pair in zip(*gradients, strict=True))
