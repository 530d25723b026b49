"""Merging on disk: what is refused before anything is written, and that what is written is a model."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import peft
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.merging import checkpoint, draw, load
from tests.tiny import tiny_directory, tiny_model
from truenorth import merge
from truenorth.errors import ModelError, SettingsError
from truenorth.merges import MERGES, merge_of
from truenorth.merges.expo import ExPO
from truenorth.weights import writer
from truenorth.weights.slices import NamedTensor

TOKENS = torch.arange(3, 19)[None]


def tensors(seed: int, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    shapes = {"embed_tokens.weight": (11, 6), "layers.0.up.weight": (7, 6), "layers.1.up.weight": (7, 6), "norm": (6,)}
    return {name: draw(seed + place, *shape).to(dtype) for place, (name, shape) in enumerate(shapes.items())}


def three(folder: Path, *, files: int = 1, dtype: torch.dtype = torch.float32) -> tuple[Path, Path, Path]:
    """Two models and their base."""
    a, b, base = (
        checkpoint(folder / n, tensors(10 * i, dtype), files=files) for i, n in enumerate(("a", "b", "base"))
    )
    return a, b, base


def logits(folder: Path) -> torch.Tensor:
    return AutoModelForCausalLM.from_pretrained(folder)(TOKENS).logits.detach()


def adapter(
    base: Path,
    folder: Path,
    *,
    seed: int,
    rank: int = 4,
    targets: tuple[str, ...] = ("q_proj", "up_proj"),
    **more: object,
) -> Path:
    """A LoRA adapter whose B is not zero."""
    torch.manual_seed(seed)
    config = LoraConfig(r=rank, target_modules=list(targets), task_type="CAUSAL_LM", **more)  # pyright: ignore
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(std=0.1)
    model.save_pretrained(folder)
    return folder


# what is written


@pytest.mark.parametrize("name", [name for name in MERGES if name != "adapters"])
def test_streamed_is_what_memory_gives_and_shards_change_nothing(tmp_path: Path, name: str) -> None:
    how = merge_of(name)
    found: list[dict[str, torch.Tensor]] = []
    for files in (1, 3):
        a, b, base = three(tmp_path / f"in{files}", files=files)
        out = tmp_path / f"out{files}"
        found.append(load(merge(how, [a, b][: how.models[1]], base=base if how.base else None, out=out)))
    a, b, base = (tensors(10 * i) for i in range(3))
    for key in a:
        models = [a[key], b[key]][: how.models[1]]
        sources = [lambda start, end, m=m: m.flatten()[start:end] for m in (*models, base[key])]
        layer = (int(key[7]), 2) if "layers" in key else None
        tensor = NamedTensor(key, a[key].numel(), sources[:-1], sources[-1] if how.base else None, layer)
        whole = torch.cat(list(how(tensor))).view_as(a[key])
        assert torch.equal(found[0][key], whole)
        assert torch.equal(found[1][key], whole)


def test_what_is_written_loads_generates_and_is_the_extrapolation(tmp_path: Path) -> None:
    sft, aligned = (tiny_directory(tmp_path / str(seed), seed=seed) for seed in range(2))
    out = merge("expo", [aligned], base=sft, out=tmp_path / "out", alpha=0.5)
    expected = AutoModelForCausalLM.from_pretrained(aligned)
    start = dict(AutoModelForCausalLM.from_pretrained(sft).named_parameters())
    for name, parameter in expected.named_parameters():
        parameter.data += 0.5 * (parameter.data - start[name].data)
    torch.testing.assert_close(logits(out), expected(TOKENS).logits.detach(), rtol=1e-5, atol=1e-5)
    tokenizer, first = AutoTokenizer.from_pretrained(out), AutoTokenizer.from_pretrained(aligned)
    assert tokenizer.chat_template == first.chat_template is not None
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.generate(TOKENS, max_new_tokens=3, do_sample=False).shape == (1, TOKENS.shape[1] + 3)


def test_the_card_says_what_was_merged(tmp_path: Path) -> None:
    a, _, base = three(tmp_path)
    card = (merge("expo", [a], base=base, out=tmp_path / "out", alpha=0.25) / "README.md").read_text()
    assert all(text in card for text in ("2404.16792", "alpha: 0.25", str(a), str(base), "merge: expo"))


def test_results_are_stored_as_the_first_model_unless_asked(tmp_path: Path) -> None:
    a, _, _ = three(tmp_path / "half", dtype=torch.bfloat16)
    _, b, _ = three(tmp_path / "full")
    first = load(merge("soup", [a, b], out=tmp_path / "first"))
    asked = load(merge("soup", [a, b], out=tmp_path / "asked", dtype="float32"))
    assert {tensor.dtype for tensor in first.values()} == {torch.bfloat16}
    assert json.loads((tmp_path / "asked/config.json").read_text())["dtype"] == "float32"
    for name, tensor in asked.items():  # float32 arithmetic, rounded once
        torch.testing.assert_close(tensor, (load(a)[name].float() + load(b)[name]) / 2)
        assert torch.equal(first[name], tensor.bfloat16())


def test_large_results_come_in_several_files_with_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SHARD", 200_000)
    folders = [tiny_directory(tmp_path / str(seed), seed=seed) for seed in range(2)]
    out = merge("soup", folders, out=tmp_path / "out")
    assert len(list(out.glob("model-*-of-*.safetensors"))) > 1
    monkeypatch.undo()
    assert torch.equal(logits(out), logits(merge("soup", folders, out=tmp_path / "one")))


def test_tied_weights_are_written_once(tmp_path: Path) -> None:
    embeddings = draw(0, 11, 6)
    tied = {"embed_tokens.weight": embeddings, "lm_head.weight": embeddings.clone()}
    folders = [checkpoint(tmp_path / n, tied, config='{"tie_word_embeddings": true}') for n in "ab"]
    assert set(load(merge("soup", folders, out=tmp_path / "out"))) == {"embed_tokens.weight"}
    folders = [checkpoint(tmp_path / n, tied, config='{"tie_word_embeddings": false}') for n in "cd"]
    assert set(load(merge("soup", folders, out=tmp_path / "untied"))) == set(tied)


def test_whole_numbers_are_copied_and_must_be_the_same(tmp_path: Path) -> None:
    one, other = torch.arange(5), torch.arange(5) + 1
    a, b, c = (
        checkpoint(tmp_path / n, {"w": draw(0, 3), "ids": ids})
        for n, ids in zip("abc", (one, one, other), strict=True)
    )
    assert torch.equal(load(merge("soup", [a, b], out=tmp_path / "out"))["ids"], one)
    with pytest.raises(ModelError, match="ids holds whole numbers, and they differ"):
        merge("soup", [a, c], out=tmp_path / "none")


def test_a_user_has_it_in_three_lines(tmp_path: Path) -> None:
    a, _, base = three(tmp_path)
    merge(ExPO(alpha=0.0), [a], base=base, out=tmp_path / "out")
    assert all(torch.equal(tensor, tensors(0)[name]) for name, tensor in load(tmp_path / "out").items())


# adapters


@pytest.mark.parametrize("weights", [None, (0.7, -0.2)])
def test_merged_adapters_are_the_dense_sum(tmp_path: Path, weights: tuple[float, float] | None) -> None:
    base = tiny_directory(tmp_path / "base")
    one = adapter(base, tmp_path / "one", seed=1, rank=4, lora_alpha=8)
    two = adapter(
        base,
        tmp_path / "two",
        seed=2,
        rank=3,
        lora_alpha=5,
        targets=("q_proj", "down_proj"),
        use_rslora=True,
        alpha_pattern={"layers.1.*proj": 9},
    )
    out = merge("adapters", [one, two], out=tmp_path / "out", weights=weights)
    dense = AutoModelForCausalLM.from_pretrained(base)
    start = {name: tensor.clone() for name, tensor in dense.state_dict().items()}
    for folder, weight in zip((one, two), weights or (0.5, 0.5), strict=True):
        whole = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder).merge_and_unload()
        for name, parameter in dense.named_parameters():
            parameter.data += weight * (whole.state_dict()[name] - start[name])
    merged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), out)
    torch.testing.assert_close(merged(TOKENS).logits, dense(TOKENS).logits, rtol=1e-5, atol=1e-5)
    ranks = {m.r["default"] for m in merged.modules() if hasattr(m, "lora_A") and hasattr(m, "r")}
    assert ranks == {7, 4, 3}  # both, and either alone


def test_adapters_of_one_kind_are_concatenated_without_rounding(tmp_path: Path) -> None:
    base = tiny_directory(tmp_path / "base")
    one, two = (adapter(base, tmp_path / str(seed), seed=seed, lora_alpha=3) for seed in (1, 2))
    found, parts = load(merge("adapters", [one, two], out=tmp_path / "out")), [load(one), load(two)]
    for name, tensor in found.items():
        axis = 0 if "lora_A" in name else 1
        assert torch.equal(tensor, torch.cat([part[name] for part in parts], axis))
    config = json.loads((tmp_path / "out/adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (8, 3.0)  # 8 * 1/2 * 3/4
    assert config["rank_pattern"] == config["alpha_pattern"] == {}


def test_adapters_of_different_bases_are_refused(tmp_path: Path) -> None:
    bases = [tiny_directory(tmp_path / f"base{seed}", seed=seed) for seed in range(2)]
    folders = [adapter(base, tmp_path / f"a{place}", seed=place) for place, base in enumerate(bases)]
    with pytest.raises(ModelError, match="adapters are sums on one base only"):
        merge("adapters", folders, out=tmp_path / "out")


def test_an_adapter_stands_for_the_whole_model_that_it_makes(tmp_path: Path) -> None:
    base = tiny_directory(tmp_path / "base")
    one = adapter(base, tmp_path / "one", seed=1)
    out = merge("expo", [one], base=base, out=tmp_path / "out", alpha=0.0)
    alone = merge("linear", [one], out=tmp_path / "alone")
    made = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), one)
    for folder in (out, alone):
        torch.testing.assert_close(logits(folder), made(TOKENS).logits.detach(), rtol=1e-5, atol=1e-5)
        assert (folder / "tokenizer.json").exists()


def test_a_transposed_base_takes_its_adapter_too(tmp_path: Path) -> None:
    base = tmp_path / "gpt2"
    tiny_model("gpt2").save_pretrained(base)
    one = adapter(base, tmp_path / "one", seed=1, targets=("c_attn", "c_proj"), fan_in_fan_out=True)
    out = merge("task_arithmetic", [one], base=base, out=tmp_path / "out")
    made = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), one)
    torch.testing.assert_close(logits(out), made(TOKENS).logits.detach(), rtol=1e-5, atol=1e-5)


def test_adapters_that_are_more_than_products_are_refused(tmp_path: Path) -> None:
    base = tiny_directory(tmp_path / "base")
    folders = [adapter(base, tmp_path / str(seed), seed=seed, use_dora=True) for seed in range(2)]
    with pytest.raises(ModelError, match="use_dora"):
        merge("adapters", folders, out=tmp_path / "out")


def test_what_an_error_says_of_peft_makes_the_whole_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one = adapter(base := tiny_directory(tmp_path / "base"), tmp_path / "one", seed=1, use_dora=True)
    with pytest.raises(ModelError) as caught:
        merge("linear", [one], out=tmp_path / "out")
    (code,) = re.findall(r"in Python: (peft.*), and copy", str(caught.value))
    exec(code, {"peft": peft})
    made = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), one)
    torch.testing.assert_close(logits(tmp_path / "merged"), made(TOKENS).logits.detach(), rtol=1e-4, atol=1e-4)


# what is refused


def test_names_and_shapes_that_differ_are_named_before_anything_is_written(tmp_path: Path) -> None:
    a = checkpoint(tmp_path / "a", {"one": draw(0, 2), "two": draw(0, 2, 3), "same": draw(0, 1)})
    b = checkpoint(tmp_path / "b", {"two": draw(0, 3, 2), "same": draw(0, 1)})
    with pytest.raises(
        ModelError, match=rf"one is only in {re.escape(str(a))}; the tensor two is \[3, 2\] in one and \[2, 3\]"
    ):
        merge("soup", [a, b], out=tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_the_base_must_fit_too(tmp_path: Path) -> None:
    a = checkpoint(tmp_path / "a", {"w": draw(0, 2)})
    base = checkpoint(tmp_path / "base", {"w": draw(0, 3)})
    with pytest.raises(ModelError, match=r"the tensor w is \[3\] in one and \[2\] in the other"):
        merge("expo", [a], base=base, out=tmp_path / "out")


def test_configurations_that_compute_otherwise_are_refused(tmp_path: Path) -> None:
    a, b = (
        checkpoint(tmp_path / n, {"w": draw(0, 2)}, config=json.dumps({"rope_theta": x, "use_cache": x > 1}))
        for n, x in (("a", 1), ("b", 2))
    )
    with pytest.raises(ModelError, match="rope_theta is 2 in one and 1 in the other"):
        merge("soup", [a, b], out=tmp_path / "out")


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    folders = [tiny_directory(tmp_path / str(seed), seed=seed) for seed in range(2)]
    file = folders[1] / "tokenizer.json"
    data = json.loads(file.read_text())
    first, second = list(data["model"]["vocab"])[-2:]
    ids = data["model"]["vocab"]
    ids[first], ids[second] = ids[second], ids[first]
    file.write_text(json.dumps(data))
    with pytest.raises(ModelError, match=r"the token .* has the id"):
        merge("soup", folders, out=tmp_path / "out")


def test_pickled_weights_are_refused_with_the_way_out(tmp_path: Path) -> None:
    a, b, _ = three(tmp_path)
    (b / "model.safetensors").rename(b / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pickled .bin files.*save_pretrained"):
        merge("soup", [a, b], out=tmp_path / "out")


@pytest.mark.parametrize("length", [0, 5, 40, -1])
def test_damaged_files_are_refused(tmp_path: Path, length: int) -> None:
    a, b, _ = three(tmp_path)
    whole = (b / "model.safetensors").read_bytes()
    (b / "model.safetensors").write_bytes(whole[:length])
    with pytest.raises(ModelError, match=r"cut off|no safetensors file"):
        merge("soup", [a, b], out=tmp_path / "out")


@pytest.mark.parametrize(
    ("how", "models", "base", "settings", "message"),
    [
        ("soup", 1, False, {}, "soup takes 2 or more models (--models), got 1"),
        ("slerp", 3, False, {}, "slerp takes 2 models (--models), got 3"),
        ("ties", 2, False, {}, "ties needs --base: the model that they were all fine-tuned from"),
        ("linear", 2, True, {}, "linear takes no --base"),
        ("ties", 2, True, {"kep": 0.2}, "kep is not a setting of TIES. Did you mean keep?"),
        ("ties", 2, True, {"keep": 1.2}, "TIES's keep must lie in (0, 1], got 1.2"),
        ("linear", 2, False, {"weights": [1, 2, 3]}, "linear got 3 weights for 2 models"),
        ("linear", 2, False, {"weights": [0, 0]}, "weights must not all be 0"),
        ("soup", 2, False, {"dtype": "int8"}, "dtype must be one of float64, float32, float16, bfloat16, got 'int8'"),
    ],
)
def test_wrong_use_is_refused(
    tmp_path: Path, how: str, models: int, base: bool, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        merge(how, ["m"] * models, base="b" if base else None, out=tmp_path / "out", **settings)
    assert message in str(caught.value)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    a, b, _ = three(tmp_path)
    with pytest.raises(SettingsError, match=r"exists\. Give another --out"):
        merge("soup", [a, b], out=a)


def test_a_kill_leaves_nothing_at_out_and_the_next_try_takes_its_remains_away(tmp_path: Path) -> None:
    big = {f"w{place}": torch.zeros(1 << 20) for place in range(100)}
    a, b = (checkpoint(tmp_path / n, big) for n in "ab")
    code = f"from truenorth import merge; merge('soup', [{str(a)!r}, {str(b)!r}], out={str(tmp_path / 'out')!r})"
    process = subprocess.Popen([sys.executable, "-c", code])
    remains = tmp_path / ".out.new"
    while not (remains / "model.safetensors").exists():
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert remains.exists()
    assert not (tmp_path / "out").exists()
    merge("soup", [a, b], out=tmp_path / "out")
    assert not remains.exists()


@pytest.mark.parametrize("how", ["expo", "ties"])
def test_a_model_is_not_its_own_base(tmp_path: Path, how: str) -> None:
    a, _, _ = three(tmp_path)
    with pytest.raises(SettingsError, match="is --base and among --models"):
        merge(how, [a], base=tmp_path / "b" / ".." / "a", out=tmp_path / "out")


def test_a_model_is_not_merged_with_itself(tmp_path: Path) -> None:
    a, _, _ = three(tmp_path)
    with pytest.raises(SettingsError, match="stands twice"):
        merge("soup", [a, a], out=tmp_path / "out")
