"""The head of a reward model: which state it reads, and the classifier it is written as."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from tests.tiny import PADDED, SHARING, rows_of, tiny_model
from truenorth import world
from truenorth.data.ends import ordered, pack_ends
from truenorth.data.loader import Steps
from truenorth.data.packing import pack
from truenorth.data.tokens import Ends, TokenizedRow, TokenizedRows
from truenorth.errors import ModelError
from truenorth.models.classifier import check_classifier, export_classifier, padding_token
from truenorth.models.export import Final
from truenorth.models.load import with_lora
from truenorth.models.logprobs import backbone
from truenorth.models.policy import Policy
from truenorth.models.scores import ScoreReader

SHAPES = [(6, (5, 3)), (4, (7, 1)), (9, (4, 4)), (3, (2, 6))]
QUICK = ["llama", "gpt2", "gemma2", "bloom"]
HAVE_NONE = ["cohere", "granite", "mamba"]  # no sequence classifier in transformers
EVERY = [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in [*SHARING, *PADDED]]
LOADED = [p for p in EVERY if p.values[0] not in HAVE_NONE]


def awake(reader: ScoreReader) -> ScoreReader:
    """A reader whose head says something."""
    torch.manual_seed(5)
    torch.nn.init.normal_(reader.head.weight)
    return reader


def whole(row: TokenizedRow, ends: Ends) -> list[Tensor]:
    """The inputs of each answer or order, prompt first, as one plain sequence each."""
    sequences = ordered(row.responses) if ends == "orders" else row.responses
    return [torch.cat([torch.tensor(row.prompt), torch.tensor(sequence)]).long() for sequence in sequences]


def plain_scores(model: PreTrainedModel, reader: ScoreReader, rows: list[TokenizedRow], ends: Ends) -> Tensor:
    """[B, K] by one ordinary forward each."""
    states = [
        torch.stack(
            [backbone(model)(input_ids=s[None], use_cache=False).last_hidden_state[0, -1] for s in whole(r, ends)]
        )
        for r in rows
    ]
    return reader.scores(torch.stack(states))


@pytest.mark.parametrize("ends", ["answers", "orders"])
@pytest.mark.parametrize("architecture", EVERY)
@torch.no_grad()
def test_the_head_reads_the_state_at_the_last_token(architecture: str, ends: Ends) -> None:
    rows = rows_of(SHAPES)
    reader = awake(ScoreReader.of(Policy.of(tiny_model(architecture), "float32")))
    found = reader.log_probs(pack_ends(rows, range(len(rows)), ends))
    assert found.total.shape == (4, 2)
    assert torch.equal(found.length, pack(rows).length)
    expected = plain_scores(tiny_model(architecture), reader, rows, ends)
    assert float((found.total - expected).abs().max()) < 1e-4


def test_a_head_at_zero_gives_no_score_and_no_gradient_to_the_layers() -> None:
    model = tiny_model("llama").requires_grad_()
    reader = ScoreReader.of(Policy.of(model, "float32"))
    scores = reader.log_probs(pack_ends(rows_of(SHAPES), range(4), "answers")).total
    scores[:, 0].sum().backward()
    assert not scores.any()
    assert reader.head.weight.grad is not None
    assert reader.head.weight.grad.any()
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_rows_read_in_orders_count_each_answer_twice() -> None:
    rows = TokenizedRows.of(rows_of(SHAPES))
    orders, answers = rows.read_at_ends("orders"), rows.read_at_ends("answers")
    for at, row in enumerate(rows):
        inputs = len(pack_ends([row], [at], "orders").tokens)
        assert orders.lengths[at] == inputs
        assert answers.lengths[at] == rows.lengths[at] == len(pack_ends([row], [at], "answers").tokens)
    assert (orders.longest, answers.longest, rows.ends) == (17, 13, None)
    assert all(batch.last is not None for batch in Steps(orders, 2).batches(0, budget=40))


def final(model: torch.nn.Module, *, adapter: bool = False, start: str = "") -> Final:
    weights = {n: t for n, t in model.state_dict().items() if not adapter or ".lora_" in n}
    tokenizer = AutoTokenizer.from_pretrained(world.sft_model())
    return Final(weights, start, torch.float32, tokenizer, "# a card")


@pytest.mark.parametrize("architecture", LOADED)
@torch.no_grad()
def test_a_classifier_that_was_written_scores_as_the_reader_did(architecture: str, tmp_path: Path) -> None:
    rows = rows_of(SHAPES)
    model = tiny_model(architecture)
    reader = awake(ScoreReader.of(Policy.of(model, "float32")))
    expected = reader.log_probs(pack_ends(rows, range(4), "answers")).total
    export_classifier(
        model, ScoreReader.scaled(reader.head.weight), tmp_path / "final", final=final(model), about={"kind": "reward"}
    )
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "final")
    assert loaded.config.num_labels == 1
    found = torch.stack([torch.cat([loaded(s[None]).logits[0] for s in whole(row, "answers")]) for row in rows])
    assert float((found - expected).abs().max()) < 1e-4


@torch.no_grad()
def test_an_adapter_that_was_written_scores_as_the_reader_did(tmp_path: Path) -> None:
    from peft import PeftModel

    tiny_model("llama").save_pretrained(tmp_path / "base")
    model = with_lora(tiny_model("llama"), rank=2, alpha=4.0, targets="all-linear", dropout=0.0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.normal_()
    rows = rows_of(SHAPES)
    reader = awake(ScoreReader.of(Policy.of(model, "float32")))
    expected = reader.log_probs(pack_ends(rows, range(4), "answers")).total
    start = str(tmp_path / "base")
    export_classifier(
        model,
        ScoreReader.scaled(reader.head.weight),
        tmp_path / "final",
        final=final(model, adapter=True, start=start),
        about={},
    )
    base = AutoModelForSequenceClassification.from_pretrained(start, num_labels=1)
    loaded = PeftModel.from_pretrained(base, str(tmp_path / "final")).eval()
    found = torch.stack([torch.cat([loaded(s[None]).logits[0] for s in whole(row, "answers")]) for row in rows])
    assert float((found - expected).abs().max()) < 1e-4


@pytest.mark.parametrize("architecture", HAVE_NONE)
def test_an_architecture_without_a_classifier_is_refused(architecture: str) -> None:
    with pytest.raises(ModelError, match=f"no sequence classifier for {architecture} models"):
        check_classifier(tiny_model(architecture).config)


def test_padding_is_never_the_token_that_ends_answers() -> None:
    tokenizer = AutoTokenizer.from_pretrained(world.sft_model())
    assert padding_token(tokenizer) == tokenizer.pad_token_id
    tokenizer.pad_token = tokenizer.eos_token
    assert padding_token(tokenizer) not in {None, tokenizer.eos_token_id}
