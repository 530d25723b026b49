"""What a plan says of drawing, against the caches and tensors of real models."""

import pytest
import torch

from tests.tiny import tiny_model
from truenorth.models.memory import counting
from truenorth.models.policy import Precision
from truenorth.models.rehearsal import Asked, Rehearsal
from truenorth.online.decoding import Reader
from truenorth.online.draw_cost import DrawnTogether, draw_cost
from truenorth.online.draws import draw
from truenorth.online.sampling import Sampling

PROMPTS, ANSWERS, LONGEST, TOKENS = 4, 16, 40, 30
SIZES = {"vocab_size": 500, "hidden_size": 64, "intermediate_size": 128}


def really_held(model: torch.nn.Module, half: bool) -> tuple[int, int]:
    """Bytes of keys and values after all tokens, and of everything at the peak."""
    reader, rows = Reader(model.eval()), torch.arange(ANSWERS) % PROMPTS  # pyright: ignore[reportArgumentType]
    uniform = torch.full((ANSWERS,), 0.5, dtype=torch.float64)
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=half)
    with torch.no_grad(), autocast, counting(list(model.parameters()), vocabulary=500) as ledger:
        mask = torch.ones(PROMPTS, LONGEST, dtype=torch.int64)
        logits = reader.read(torch.zeros_like(mask), mask)[rows]
        reader.keep(rows)
        mask = mask[rows]
        for _ in range(TOKENS):
            token, _ = draw(logits, uniform, Sampling())
            mask = torch.cat([mask, mask.new_ones(ANSWERS, 1)], dim=-1)
            logits = reader.read(token[:, None], mask)
        draw(logits, uniform, Sampling())
    layers = reader.cache.layers
    return sum(t.nbytes for layer in layers for t in (layer.keys, layer.values)), sum(ledger.peak.values())  # pyright: ignore


@pytest.mark.parametrize(
    ("architecture", "precision"),
    [
        ("llama", "float32"),
        ("llama", "bfloat16"),
        ("gpt2", "bfloat16"),
        ("mistral", "float32"),
        ("gemma2", "bfloat16"),
    ],
)
def test_the_cache_that_is_planned_is_the_one_that_drawing_fills(architecture: str, precision: Precision) -> None:
    """To the byte, whatever dtype and window an architecture's keys and values have; the peak but for small change."""
    model = tiny_model(architecture, **({"vocab_size": 500} if architecture == "gpt2" else SIZES))
    sampling = Sampling(max_new_tokens=TOKENS)
    found = draw_cost(Rehearsal(model.config, Asked(precision)), DrawnTogether(PROMPTS, ANSWERS, LONGEST), sampling)
    assert found is not None
    cache, peak = really_held(model, precision == "bfloat16")
    assert found.cache == cache
    assert sum(found.peak.values()) == pytest.approx(peak, rel=0.05)


def test_a_mixture_fills_two_caches_and_reads_both_models() -> None:
    rehearsal = Rehearsal(tiny_model("llama", **SIZES).config, Asked())
    sizes, sampling = DrawnTogether(PROMPTS, ANSWERS, LONGEST), Sampling(max_new_tokens=TOKENS)
    one, two = (draw_cost(rehearsal, sizes, sampling, models=n) for n in (1, 2))
    assert one is not None
    assert two is not None
    assert (two.cache, two.weights, two.reading) == (2 * one.cache, 2 * one.weights, 2 * one.reading)


def test_rehearsing_answers_leaves_a_rehearsal_of_steps_as_it_was() -> None:
    from truenorth.data.row_lengths import RowLengths
    from truenorth.models.rehearsal import Shape

    rehearsal = Rehearsal(tiny_model("llama", **SIZES).config, Asked())
    shape = Shape.of(RowLengths.alike(4, prompt=9, response=7, candidates=2).largest(budget=99, batch_size=4))
    before = rehearsal(shape)
    draw_cost(rehearsal, DrawnTogether(PROMPTS, ANSWERS, LONGEST), Sampling(max_new_tokens=TOKENS))
    assert rehearsal(shape) == before
