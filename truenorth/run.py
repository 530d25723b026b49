"""What the machine needs to know of a run: paths, sizes, seed. What the paper says is in `recipe.py`."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator

from .completions import Completions
from .data.files import missing
from .errors import SettingsError
from .judge import AnyJudge, by_name
from .settings import Settings
from .stream import Stream


class LoRA(Settings):
    """Low-rank adapters instead of full fine-tuning (PEFT)."""

    rank: PositiveInt = 16
    alpha: PositiveFloat | None = Field(default=None, description="scale times rank; none: twice the rank")
    targets: list[str] | Literal["all-linear"] = Field(
        default="all-linear", description="names of the adapted modules"
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="share of the adapter's inputs dropped")


class DataSource(Settings):
    """One file, folder or hub name, and what share of the rows it gives."""

    path: str = Field(description="file, folder or hub name")
    share: PositiveFloat = Field(default=1.0, description="rows taken from it per row of its own: 0.5 half, 2 twice")


class Run(Settings):
    """What the machine needs. Everything here changes how fast and where a run goes, not what it computes, but for
    the data, the model, the seed, the batch size and the length limit."""

    model: str = Field(description="directory or hub name of the SFT model, or of a PEFT adapter")
    data: list[DataSource] = Field(
        default_factory=list[DataSource], description="preference data to train on; rounds of self-play make their own"
    )
    stream: Stream | None = Field(default=None, description="rows that still come; in place of data")
    out: Path = Field(description="run directory")
    eval_data: list[DataSource] = Field(default_factory=list[DataSource], description="held-out rows")
    columns: dict[str, str] = Field(
        default_factory=dict[str, str], description="what a column means where detection cannot know: role to column"
    )
    prompts: Path | None = Field(
        default=None, description="prompts of rounds; of the samples before and after, else from the data"
    )
    judge: AnyJudge | None = Field(default=None, description="who judges the answers of rounds: a kind or a function")
    sampler: Completions | None = Field(
        default=None, description="completion server that draws the answers of rounds; none: the model in memory"
    )
    seed: NonNegativeInt = 0
    epochs: PositiveFloat | None = Field(
        default=None, description="passes over the data; none: 1, unless max_steps is set"
    )
    max_steps: PositiveInt | None = Field(default=None, description="optimizer steps; instead of epochs")
    batch_size: PositiveInt = Field(default=64, description="prompts per optimizer step, all processes together")
    max_length: PositiveInt = Field(default=2048, description="tokens of prompt and one response together")
    too_long: Literal["stop", "drop", "truncate"] = Field(default="stop", description="what becomes of longer rows")
    on_problem: Literal["stop", "drop", "keep"] = Field(
        default="stop", description="what becomes of rows with a problem"
    )
    max_problem_share: float = Field(
        default=0.1, ge=0, le=1, description="refuse to start when more of the rows are dropped"
    )
    ties: Literal["drop", "keep"] = Field(default="drop", description="pairs whose scores are equal")
    pairing: Literal["none", "best_vs_each", "best_vs_worst", "all_pairs"] = Field(
        default="none", description="how K > 2 responses reach a method of pairs; none refuses them"
    )
    chat_template: Path | None = Field(
        default=None, description="a Jinja file in place of the tokenizer's own template"
    )
    tokens_per_micro_batch: PositiveInt | None = Field(
        default=None, description="token budget; none: found from memory"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(default="auto", description="of the matrix products")
    lora: LoRA | None = Field(default=None, description="train low-rank adapters; none: all weights")
    gradient_checkpointing: bool = False
    layout: Literal["auto", "data", "fsdp", "tensor"] = Field(
        default="auto",
        description="how several processes hold the model; auto: fsdp for all weights on GPUs, else data",
    )
    shard_size: PositiveInt | None = Field(
        default=None, description="fsdp: processes that share the weights; none: all of them"
    )
    tensor_size: PositiveInt | None = Field(
        default=None, description="processes that slice each layer; none: 1, or all with the layout tensor"
    )
    dropout: bool = Field(default=False, description="leave the model's own dropout on")
    save_every: PositiveInt | None = Field(default=None, description="steps between checkpoints; none: four in a run")
    keep_checkpoints: PositiveInt = Field(default=2, description="newest checkpoints kept")
    save_as: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="dtype of the weights in `final`; auto: the start model's, of adapters float32"
    )
    eval_every: PositiveInt | None = Field(default=None, description="steps between evaluations; none: four in a run")
    samples: NonNegativeInt = Field(default=4, description="prompts answered before and after for the report")
    trust_remote_code: bool = Field(default=False, description="run the model repository's own Python code")

    @field_validator("data", "eval_data", mode="before")
    @classmethod
    def _plain_paths(cls, value: object) -> object:
        """A path alone stands for a source with share 1, `demos.jsonl:0.5` for one with share 0.5."""
        if not isinstance(value, list):
            value = [value]
        return [_source(str(item)) if isinstance(item, (str, Path)) else item for item in value]  # pyright: ignore

    @field_validator("judge", mode="before")
    @classmethod
    def _judge_by_name(cls, value: object) -> object:
        return by_name(value)

    @field_validator("stream", mode="before")
    @classmethod
    def _stream_by_path(cls, value: object) -> object:
        return {"path": str(value)} if isinstance(value, (str, Path)) else value

    @field_validator("model", mode="before")
    @classmethod
    def _one_name_of_a_folder(cls, value: object) -> object:
        """`sft/` is `sft`, and `~` is the home folder: a resumed run may spell it either way."""
        return (_at_home(str(value)).rstrip("/") or value) if isinstance(value, (str, Path)) else value

    @field_validator("out", "prompts", "chat_template")
    @classmethod
    def _of_home(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser()

    @model_validator(mode="after")
    def _files_are_there(self) -> "Run":
        for name in ("prompts", "chat_template"):
            if (file := getattr(self, name)) is not None and not file.is_file():
                raise SettingsError(f"--{name.replace('_', '-')}: {missing(file)}")
        return self

    @model_validator(mode="after")
    def _one_source_of_rows(self) -> "Run":
        if self.stream is not None and self.data:
            raise SettingsError("--data has rows that are there, --stream rows that still come: give one of them.")
        if self.stream is not None and self.epochs is not None:
            raise SettingsError(
                "a stream is gone through once: leave --epochs out. --max-steps says when it is enough."
            )
        return self

    @model_validator(mode="after")
    def _one_length_of_run(self) -> "Run":
        if self.epochs is not None and self.max_steps is not None:
            raise SettingsError(f"Give epochs or max_steps, not both: got {self.epochs} and {self.max_steps}.")
        return self


def shares_of(sources: Iterable[DataSource]) -> list[tuple[str, float]]:
    """Each file, and how often a pass takes its rows: what the data layer knows of a source."""
    return [(source.path, source.share) for source in sources]


def _source(text: str) -> dict[str, object]:
    path, _, share = text.rpartition(":")
    if path and re.fullmatch(r"\d+(\.\d+)?", share) and not Path(text).exists():
        return {"path": _at_home(path), "share": float(share)}
    return {"path": _at_home(text)}


def _at_home(path: str) -> str:
    """`path` with the home folder in place of `~`; what is no path (a hub name, `./x`) stays as it is."""
    return str(Path(path).expanduser()) if path.startswith("~") else path
