"""What a plan says of a run, and the laws that its sums obey."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from tests.tiny import SHARING, rows_of, tiny_directory, tiny_model
from truenorth.clients import Clients
from truenorth.data.packing import pack
from truenorth.data.row_lengths import RowLengths
from truenorth.data.tokens import TokenizedRows
from truenorth.errors import SettingsError
from truenorth.evaluate.machines import GPUS, this_processor
from truenorth.evaluate.plan import Plan, plan
from truenorth.evaluate.plan_memory import Memory, Question
from truenorth.evaluate.plan_text import sentences
from truenorth.methods import recipe
from truenorth.models.load import with_lora
from truenorth.models.logprobs import base_of
from truenorth.models.memory import counting
from truenorth.models.modes import set_training
from truenorth.models.policy import Policy
from truenorth.models.rehearsal import Adapter, Asked, Rehearsal, Shape
from truenorth.run import LoRA, Run
from truenorth.train.budget import SHARE

ROWS = RowLengths.alike(1000, prompt=40, response=30, candidates=2)
SHAPE = Shape.of(pack(rows_of([(6, (5, 4))])).layout)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a configuration and no weights."""
    folder = tmp_path_factory.mktemp("config")
    sizes = {"vocab_size": 1000, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    tiny_model("llama", **sizes).config.save_pretrained(folder)
    return str(folder)


def asked(config: str, *, gpu: str | None = None, count: int = 1, **run: object) -> Question:
    machine = GPUS[gpu] if gpu else replace(this_processor(), rate=1e11)
    settings = Run(model=config, data=["-"], out=Path("-"), **({"batch_size": 8} | run))
    return Question(recipe("dpo"), settings, "float32", machine, count)


@cache
def planned(config: str, **changes: object) -> Plan:
    return plan(asked(config, **changes), ROWS)


@pytest.mark.parametrize("architecture", [name for name in SHARING if name not in ("gpt_oss", "mixtral")])
@pytest.mark.parametrize(("adapter", "checkpointing"), [(None, False), (Adapter(2), True)])
def test_a_rehearsal_counts_what_the_real_passes_take(
    architecture: str, adapter: Adapter | None, checkpointing: bool
) -> None:
    """The same sum over tensors with contents: the engine, its head and transformers' layers."""
    changes = {} if architecture == "gpt2" else {"hidden_size": 64, "intermediate_size": 128}
    model = tiny_model(architecture, vocab_size=500, **changes).requires_grad_(adapter is None)
    batch = pack(rows_of([(60, (50, 40))] * 4))
    found = Rehearsal(model.config, Asked("float32", adapter, checkpointing))(Shape.of(batch.layout))
    if adapter is not None:
        model = with_lora(model, rank=2, alpha=1.0, targets="all-linear", dropout=0.0)
    if checkpointing:
        base_of(model).activation_checkpointing_enable()
    set_training(model, dropout=False)
    policy = Policy.of(model, "float32")
    with counting(list(model.parameters()), vocabulary=500) as ledger:
        policy.log_probs(batch).total.sum().backward()
    assert sum(found.peak.values()) == pytest.approx(sum(ledger.peak.values()), rel=0.15)
    assert found.peak["weights"] == ledger.peak["weights"]


def test_the_parts_sum_to_the_total(config: str) -> None:
    found = planned(config)
    assert sum(found.parts.values()) == found.total == found.to_dict()["total"]


def test_more_tokens_take_more_memory(config: str) -> None:
    memory = Memory(asked(config))
    totals = [sum(memory.at(ROWS, budget)[0].values()) for budget in (100, 200, 400)]
    assert totals == sorted(set(totals))


def test_longer_rows_take_more_memory(config: str) -> None:
    memory = Memory(asked(config, batch_size=1))
    rows = [RowLengths.alike(10, prompt=n, response=30, candidates=2) for n in (40, 80, 160)]
    totals = [sum(memory.at(row, 1)[0].values()) for row in rows]
    assert totals == sorted(set(totals))


def test_fsdp_over_n_gpus_divides_what_it_shares_out_by_n(config: str) -> None:
    alone = Memory(asked(config, gpu="h100", batch_size=8)).at(ROWS, 100)[0]
    four = Memory(asked(config, gpu="h100", count=4, layout="fsdp", batch_size=32)).at(ROWS, 100)[0]
    for part in ("weights", "optimizer"):
        assert four[part] == -(-alone[part] // 4)
    assert four["activations"] == alone["activations"]
    assert four["gathered"] > alone["gathered"] == 0


def test_fsdp_leaves_no_half_copies_of_layers_but_gathers_them_in_half(config: str) -> None:
    single = asked(config, gpu="h100", count=4, layout="fsdp", batch_size=32)
    half = Memory(replace(single, precision="bfloat16"))
    embedding = 1000 * 64  # entries, as many as the head's
    assert half.at(ROWS, 100)[0]["half copies"] <= 2 * embedding  # the head's own
    layers = sum(p.numel() for p in half.rehearsal.trained) - outside(half)
    assert Memory(single).travelling - half.travelling == 2 * layers
    alone = Memory(replace(asked(config, gpu="h100", batch_size=8), precision="bfloat16"))
    assert alone.at(ROWS, 100)[0]["half copies"] > 2 * embedding


def outside(memory: Memory) -> int:
    """Entries of the weights that are in no layer."""
    named = memory.rehearsal.model.named_parameters()
    return sum(p.numel() for name, p in named if ".layers." not in name)


def test_slices_divide_the_layers_and_leave_the_vocabulary(config: str) -> None:
    whole = Rehearsal(Memory(asked(config)).rehearsal.config, Asked()).model
    half = Memory(asked(config, count=2, layout="tensor")).rehearsal.model
    parameters = {name: p.numel() for name, p in whole.named_parameters()}
    for name, parameter in half.named_parameters():
        sliced = any(layer in name for layer in ("self_attn", "mlp"))
        assert parameter.numel() == parameters[name] // (2 if sliced else 1)


def test_an_adapter_alone_has_gradients_and_optimizer_state(config: str) -> None:
    found = planned(config, lora=LoRA(rank=2), tokens_per_micro_batch=100)
    assert found.parts["gradients"] == 4 * found.trained
    assert found.trained < found.parameters / 10
    assert found.parts["optimizer"] < 3 * 4 * found.trained


def test_a_frozen_copy_takes_as_much_as_the_weights_and_an_adapter_needs_none(config: str) -> None:
    frozen = {"initial": {"kind": "frozen"}}
    full = asked(config)
    full = replace(full, recipe=full.recipe.replace(references=frozen))
    parts = Memory(full).at(ROWS, 100)[0]
    assert parts["references"] == parts["weights"]
    adapter = replace(full, run=full.run.replace(lora=LoRA(rank=2)))
    assert Memory(adapter).at(ROWS, 100)[0]["references"] == 0


def referring(question: Question, **reference: object) -> Question:
    return replace(question, recipe=question.recipe.replace(references={"initial": reference}))


def test_a_reference_that_moves_takes_the_weights_again_or_the_adapters_that_count(config: str) -> None:
    full = Memory(referring(asked(config), kind="moving")).at(ROWS, 100)[0]
    assert full["references"] == full["weights"]
    lora = LoRA(rank=2, targets=["q_proj"])  # rank 2 on layers of 64 by 64: a layer is as much as 16 of them
    trained = plan(asked(config, lora=lora), ROWS).trained
    for share, adapters in ((1.0, 1), (0.6, 20), (0.1, 32)):  # 172 would be more than the layers twice
        parts = Memory(referring(asked(config, lora=lora), kind="moving", share=share)).at(ROWS, 100)[0]
        assert parts["references"] == 4 * trained * adapters


def test_a_soup_is_computed_before_and_takes_nothing_beside_the_policy(config: str) -> None:
    found = plan(referring(asked(config), kind="soup", path="other"), ROWS)
    assert "references" not in found.parts
    assert found.flops == planned(config).flops
    assert any(note.startswith("References are computed once") for note in found.notes)


def test_a_reference_that_moves_is_scored_in_every_step_and_never_advised_away(config: str) -> None:
    frozen, moving = (plan(referring(asked(config), kind=kind), ROWS) for kind in ("frozen", "moving"))
    assert moving.flops == frozen.flops > planned(config).flops
    small = replace(this_processor(), memory=10**6, rate=1e11)
    notes = {
        kind: plan(replace(referring(asked(config), kind=kind), machine=small), ROWS).notes
        for kind in ("frozen", "moving")
    }
    assert any("--reference cached" in note for note in notes["frozen"])
    assert not any("--reference cached" in note for note in notes["moving"])


def test_a_task_vector_is_one_more_copy_of_what_is_trained(config: str) -> None:
    parts = Memory(replace(asked(config), task_vector=True)).at(ROWS, 100)[0]
    assert parts["task vector"] == parts["weights"]


def test_sharing_saves_all_but_one_copy_of_each_prompt() -> None:
    rows = TokenizedRows.of(rows_of([(7, (3, 4, 5)), (10, (2, 9)), (4, (6,))]))
    assert RowLengths.of(rows).saved == 2 * 7 + 1 * 10 + 0 * 4


def test_the_largest_micro_batch_is_the_one_that_training_tries() -> None:
    from truenorth.data.loader import Steps

    shapes = [(20, (10, 12)), (5, (3, 4)), (9, (8, 2)), (30, (4, 4)), (6, (6, 6))]
    rows = TokenizedRows.of(rows_of(shapes))
    for budget in (45, 70, 100):
        assert RowLengths.of(rows).largest(budget=budget, batch_size=4) == Steps(rows, 4).largest(budget=budget).layout


def test_the_largest_micro_batch_just_fits(config: str) -> None:
    question = asked(config, batch_size=1000)
    limit = Memory(question).resident["process"] + 6e8  # this process may be large from tests before
    question = replace(question, machine=replace(question.machine, memory=int(limit / SHARE)))
    found, memory = plan(question, ROWS), Memory(question)
    assert sum(memory.at(ROWS, round(0.9 * found.largest))[0].values()) < limit
    assert sum(memory.at(ROWS, round(1.15 * found.largest))[0].values()) > limit


def test_what_does_not_fit_is_said_with_what_to_change(config: str) -> None:
    question = asked(config)
    found = plan(replace(question, machine=replace(question.machine, memory=10**8)), ROWS)
    assert not found.fits
    assert any("--gradient-checkpointing" in note for note in found.notes)
    assert any("--lora 16" in note for note in found.notes)


def test_starting_kernels_is_a_floor_whatever_the_rate(config: str) -> None:
    question = asked(config, gpu="h100")
    twice = replace(question, machine=replace(question.machine, rate=2 * question.machine.rate))
    found = plan(question, ROWS)
    assert plan(twice, ROWS).seconds == found.seconds == found.starting > 0
    assert "at least" in " ".join(sentences(found))


def test_every_layer_starts_as_many_kernels() -> None:
    one, two, three = (
        Rehearsal(tiny_model("llama", num_hidden_layers=layers).config, Asked())(SHAPE).launches
        for layers in (1, 2, 3)
    )
    assert three - two == two - one > 3 * 7  # products alone: seven forward, twice as many backward


def test_twice_the_rate_takes_half_the_time(config: str) -> None:
    question = asked(config)
    twice = replace(question, machine=replace(question.machine, rate=2e11))
    assert plan(twice, ROWS).seconds == pytest.approx(plan(question, ROWS).seconds / 2)


def test_products_are_six_a_parameter_and_token(config: str) -> None:
    """Kaplan et al. 2020: 2 forward, 4 backward, for all but embeddings. Here attention is little."""
    rehearsal = Rehearsal(Memory(asked(config)).rehearsal.config, Asked())
    shape = Shape.of(RowLengths.alike(1, prompt=2, response=63, candidates=1).largest(budget=1, batch_size=1))
    layers = sum(p.numel() for name, p in rehearsal.model.named_parameters() if p.dim() == 2 and "layers" in name)
    head = rehearsal.model.get_output_embeddings().weight.numel()
    expected = 6 * (layers * shape.tokens + head * shape.targets)
    assert rehearsal(shape).flops == pytest.approx(expected, rel=0.1)


def test_no_weights_are_needed_and_the_table_is_eighty_columns_wide(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from truenorth.commands import plan_command

    given = {"model": config, "prompt_tokens": "40", "answer_tokens": "30", "measure": "0"}
    plan_command("dpo", given, sets=[], as_json=False)
    shown = capsys.readouterr().out
    assert "activations" in shown
    assert max(map(len, shown.splitlines())) <= 80
    plan_command("dpo", given, sets=[], as_json=True)
    assert json.loads(capsys.readouterr().out)["longest"] == 40 + 2 * 30


def test_a_file_of_rows_gives_the_lengths(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from truenorth.commands import plan_command

    model = tiny_directory(tmp_path / "sft")
    rows = [{"prompt": f"What of number {i}?", "chosen": " it is good", "rejected": " it is bad"} for i in range(20)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = {"model": str(model), "data": [str(tmp_path / "pairs.jsonl")], "measure": "0"}
    plan_command("dpo", given, sets=[], as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 20
    assert found["saved"] > 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "plan needs rows"),
        ({"prompt_tokens": "40"}, "both"),
        ({"prompt_tokens": "40", "answer_tokens": "30", "data": ["x"]}, "not both"),
        ({"stream": "-"}, "nobody knows"),
        ({"stream": "rows.jsonl", "prompt_tokens": "40", "answer_tokens": "30", "devices": "2"}, "one process"),
        ({"prompt_tokens": "40", "answer_tokens": "30", "judge": "world"}, "nothing to judge"),
        ({"prompt_tokens": "40", "answer_tokens": "30", "gpu": "h10"}, "Did you mean h100"),
        ({"prompt_tokens": "0", "answer_tokens": "30"}, "--prompt-tokens must lie in"),
        ({"prompt_tokens": "40", "answer_tokens": "3000"}, "--max-length is 2048"),
        ({"prompt_tokens": "40", "answer_tokens": "30", "layout": "tensor", "devices": "3"}, "num_attention_heads"),
    ],
)
def test_what_cannot_be_planned_is_refused(config: str, given: dict[str, object], message: str) -> None:
    from truenorth.commands import plan_command

    with pytest.raises(SettingsError, match=message):
        plan_command("dpo", {"model": config, "measure": "0", **given}, sets=[], as_json=True)


def rounds(question: Question, *, clients: int, **settings: object) -> Question:
    return replace(question, recipe=recipe("dpo").replace(clients=Clients(**settings)), clients=clients)


def test_clients_of_several_local_steps_take_the_servers_copies_and_two_sums_of_gradients(config: str) -> None:
    memory = Memory(rounds(asked(config), clients=10, local_steps=5))
    parts, weights = memory.resident, 4 * memory.parameters[1]
    assert parts["clients"] == weights + parts["optimizer"] + 2 * weights
    alone = Memory(rounds(asked(config), clients=1, local_steps=5)).resident
    assert alone["clients"] == parts["clients"] - weights  # no other client's gradients wait
    adapter = Memory(rounds(asked(config, lora=LoRA(rank=2)), clients=10, local_steps=5))
    assert adapter.resident["clients"] == adapter.resident["optimizer"] + 3 * 4 * adapter.parameters[1]


def test_clients_of_one_local_step_take_the_mean_gradient_and_a_single_one_nothing(config: str) -> None:
    memory = Memory(rounds(asked(config), clients=2, local_steps=1))
    assert memory.resident["clients"] == 4 * memory.parameters[1]
    assert Memory(rounds(asked(config), clients=1, local_steps=1)).resident["clients"] == 0
    assert Memory(asked(config)).resident["clients"] == 0


def test_a_round_has_the_tokens_of_all_local_steps_of_its_clients(config: str) -> None:
    one, many = (plan(rounds(asked(config), clients=n, local_steps=k), ROWS) for n, k in ((1, 1), (6, 4)))
    assert many.tokens_per_step == 24 * one.tokens_per_step
    assert many.tokens == one.tokens
    assert any("6 clients take part" in note for note in many.notes)


def test_two_adapters_that_chase_each_other_take_all_but_the_base_twice(config: str) -> None:
    one = asked(config, lora=LoRA(rank=2), tokens_per_micro_batch=100)
    single, both = plan(one, ROWS), plan(replace(one, recipe=recipe("ofs_dpo")), ROWS)
    adapter = 4 * single.trained
    assert both.trained == 2 * single.trained
    assert both.parts["weights"] == single.parts["weights"] + adapter
    assert both.parts["gradients"] == 2 * single.parts["gradients"]
    moments = 2 * 4 * both.trained  # of AdamW, beside a count of steps for each tensor
    assert both.parts["optimizer"] == pytest.approx(moments, rel=0.05)
    assert both.parts["activations"] == pytest.approx(2 * single.parts["activations"], rel=0.15)
    assert both.flops == pytest.approx(2 * single.flops, rel=0.01)
