"""A soup is the mean of its two models, is computed once, and is refused where there is no such mean."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tiny import rows_of, tiny_model
from truenorth.data.packing import pack
from truenorth.data.tokens import TokenizedRows
from truenorth.errors import ModelError
from truenorth.models import scored_references
from truenorth.models.load import load_model, with_lora
from truenorth.models.policy import Policy
from truenorth.models.references import Cached, Soup
from truenorth.models.scored_references import Start, score_references
from truenorth.models.soup import check_soup, soup

ROWS = rows_of([(6, (5, 3)), (4, (7, 2))])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of two models of one shape, and of an adapter on the first of them."""
    folder = tmp_path_factory.mktemp("models")
    for name, seed in (("start", 0), ("other", 1)):
        tiny_model("llama", seed=seed).save_pretrained(folder / name)
    adapter = with_lora(load_model(str(folder / "start")), rank=2, alpha=4, targets="all-linear", dropout=0.0)
    for name, parameter in adapter.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.1)
    adapter.peft_config["default"].base_model_name_or_path = str(folder / "start")
    adapter.save_pretrained(str(folder / "adapter"))
    return {name: str(folder / name) for name in ("start", "other", "adapter")}


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def log_probs(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return Policy.of(model, "float32").log_probs(pack(ROWS)).total


def changed(path: str, folder: Path, **fields: object) -> str:
    """A copy of a model with other fields in its configuration."""
    load_model(path).save_pretrained(folder)
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))
    return str(folder)


def test_soup_by_hand(models: dict[str, str], tmp_path: Path) -> None:
    # all weights 1 in the start and 5 in the other: a quarter of the start gives 4
    paths = []
    for value in (1.0, 5.0):
        model = load_model(models["start"])
        for parameter in model.parameters():
            parameter.fill_(value)
        model.save_pretrained(tmp_path / str(value))
        paths.append(str(tmp_path / str(value)))
    assert {w.unique().item() for w in weights(soup(*paths, 0.25)).values()} == {4.0}


def test_a_share_of_one_is_the_start_and_of_nothing_the_other_to_the_bit(models: dict[str, str]) -> None:
    for share, name in ((1.0, "start"), (0.0, "other")):
        ours, theirs = weights(soup(models["start"], models["other"], share)), weights(load_model(models[name]))
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7])
def test_a_soup_of_a_model_with_itself_is_the_model_to_the_bit(share: float, models: dict[str, str]) -> None:
    ours, theirs = weights(soup(models["other"], models["other"], share)), weights(load_model(models["other"]))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_soup_is_the_same_whichever_model_is_named_first(models: dict[str, str]) -> None:
    there, back = (weights(soup(*pair, share)) for pair, share in zip(
        [(models["start"], models["other"]), (models["other"], models["start"])], [0.3, 0.7], strict=True
    ))  # fmt: skip
    assert all(torch.allclose(there[name], back[name], rtol=0, atol=1e-7) for name in there)


@pytest.mark.parametrize("first", ["start", "adapter"])
def test_adapters_are_merged_before_they_are_mixed(first: str, models: dict[str, str]) -> None:
    # an adapter and its base, half and half: the base with half of what the adapter adds
    second = {"start": "adapter", "adapter": "start"}[first]
    halved = load_model(models["adapter"])
    for name, parameter in halved.named_parameters():
        if ".lora_B." in name:
            parameter.mul_(0.5)
    mixed = log_probs(soup(models[first], models[second], 0.5))
    assert torch.allclose(mixed, log_probs(halved), rtol=0, atol=1e-4)
    assert not torch.allclose(mixed, log_probs(load_model(models["start"])), rtol=0, atol=1e-2)


@pytest.mark.filterwarnings("ignore:Model has .tie_word_embeddings")
def test_an_adapter_on_weights_that_another_layer_shares_is_refused(tmp_path: Path) -> None:
    tiny_model("llama", tie_word_embeddings=True).save_pretrained(tmp_path / "start")
    model = load_model(str(tmp_path / "start"))
    adapter = with_lora(model, rank=2, alpha=4, targets=["embed_tokens"], dropout=0.0)
    adapter.peft_config["default"].base_model_name_or_path = str(tmp_path / "start")
    adapter.save_pretrained(str(tmp_path / "adapter"), save_embedding_layers=False)
    with pytest.raises(ModelError, match=r"adapts .*embed_tokens, whose weights another layer shares"):
        soup(str(tmp_path / "start"), str(tmp_path / "adapter"), 0.5)


@pytest.mark.parametrize("first", ["start", "adapter"])
def test_models_of_one_base_may_be_mixed(first: str, models: dict[str, str], tmp_path: Path) -> None:
    harmless = changed(models["other"], tmp_path / "other", use_cache=False, attention_dropout=0.1, eos_token_id=5)
    check_soup(harmless, models[first])


def test_another_architecture_is_refused(models: dict[str, str], tmp_path: Path) -> None:
    tiny_model("gpt2").save_pretrained(tmp_path / "gpt2")
    with pytest.raises(ModelError, match=r"gpt2 and .*start cannot be mixed: one is a gpt2 model, the other a llama"):
        check_soup(str(tmp_path / "gpt2"), models["start"])


@pytest.mark.parametrize(
    ("sizes", "first"),
    [
        ({"vocab_size": 120}, r"model\.embed_tokens\.weight is \[120, 32\] in one and \[97, 32\]"),
        ({"intermediate_size": 64}, r"model\.layers\.0\.mlp\.gate_proj\.weight is \[64, 32\] in one and \[48, 32\]"),
        ({"num_hidden_layers": 1}, r"model\.layers\.1\.self_attn\.q_proj\.weight is missing in one and \[32, 32\]"),
        ({"tie_word_embeddings": True}, r"lm_head\.weight is missing in one and \[97, 32\] in the other"),
    ],
)
def test_another_shape_is_refused_by_its_first_tensor(
    sizes: dict[str, int], first: str, models: dict[str, str], tmp_path: Path
) -> None:
    tiny_model("llama", **sizes).save_pretrained(tmp_path / "other")
    with pytest.raises(ModelError, match=f"the tensor {first}.*fine-tuned from the same base"):
        check_soup(str(tmp_path / "other"), models["start"])


def test_a_model_that_computes_otherwise_with_the_same_shapes_is_refused(
    models: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"rms_norm_eps is 0\.1 in one and 1e-06 in the other"):
        check_soup(changed(models["other"], tmp_path / "other", rms_norm_eps=0.1), models["start"])


def test_a_path_without_a_model_is_refused(models: dict[str, str]) -> None:
    with pytest.raises(ModelError, match=r"there is no model folder \./nowhere"):
        check_soup("./nowhere", models["start"])


# As a reference


def scored(reference: Cached | Soup, start: str, cache: Path) -> torch.Tensor:
    """Log-probs of ROWS under it."""
    begin = Start(Policy.of(load_model(start), "float32"), start, cache, budget=100)
    (found,) = score_references({"initial": reference}, begin, [(TokenizedRows.of(ROWS), [0, 1])])
    return found["initial"](pack(ROWS, [0, 1])).total


def test_the_reference_scores_as_the_mean_of_the_weights(models: dict[str, str], tmp_path: Path) -> None:
    found = scored(Soup(path=models["other"], start_share=0.3), models["start"], tmp_path)
    assert torch.allclose(found, log_probs(soup(models["start"], models["other"], 0.3)), rtol=0, atol=1e-4)


def test_a_second_run_loads_no_model_of_the_soup(
    models: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = scored(Soup(path=models["other"]), models["start"], tmp_path)
    monkeypatch.delattr(scored_references, "soup")
    assert torch.equal(scored(Soup(path=models["other"]), models["start"], tmp_path), first)


def test_what_is_on_disk_is_told_apart_by_share_and_by_both_models(models: dict[str, str], tmp_path: Path) -> None:
    start, other = models["start"], models["other"]
    asked = [(Soup(path=other), start), (Soup(path=other, start_share=0.25), start), (Soup(path=start), other)]
    asked += [(Soup(path=models["adapter"]), start), (Cached(path=other), start), (Cached(), start)]
    for reference, begin in asked:
        scored(reference, begin, tmp_path)
    assert len(list((tmp_path / "references").iterdir())) == len(asked)


def test_weights_that_have_changed_are_scored_again(models: dict[str, str], tmp_path: Path) -> None:
    load_model(models["other"]).save_pretrained(tmp_path / "other")
    before = scored(Soup(path=str(tmp_path / "other")), models["start"], tmp_path)
    file = tmp_path / "other" / "model.safetensors"
    save_file({name: 1.1 * w for name, w in load_file(file).items()}, file, metadata={"format": "pt"})
    assert not torch.equal(scored(Soup(path=str(tmp_path / "other")), models["start"], tmp_path), before)
