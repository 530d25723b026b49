"""What `truenorth plan` takes besides the flags of `train`. Nothing slow is imported."""

from pathlib import Path

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from ..data.arrivals import STANDARD_INPUT, check_file
from ..errors import SettingsError
from ..run import Run
from ..settings import Settings


class Planned(Settings):
    """The machines of a plan, and its rows where there is no file of them."""

    gpu: str | None = Field(default=None, description="kind of GPU, such as h100; none: this CPU")
    devices: PositiveInt = Field(default=1, description="GPUs, or processes on this CPU")
    rate: PositiveFloat | None = Field(
        default=None, description="TFLOP/s of matrix products; none: the GPU's data sheet, this CPU measured"
    )
    measure: NonNegativeFloat = Field(default=1.0, description="seconds in which this CPU is measured; 0: it is not")
    prompt_tokens: PositiveInt | None = Field(default=None, description="tokens of a prompt, in place of a file's")
    answer_tokens: PositiveInt | None = Field(default=None, description="tokens of an answer, in place of a file's")
    answers: PositiveInt = Field(default=2, description="answers to a prompt, in place of a file's")
    rows: PositiveInt = Field(default=10_000, description="rows or prompts, in place of a file's")
    task_vector: bool = Field(default=False, description="merging while training: SFT minus base is kept")

    @property
    def by_numbers(self) -> bool:
        """Whether numbers stand for rows."""
        return self.prompt_tokens is not None or self.answer_tokens is not None


def check(planned: Planned, run: Run) -> None:
    """Raise SettingsError unless rows come from one place and the GPU is known. Before anything is read."""
    files = run.data or run.prompts
    if not planned.by_numbers and not files and run.stream is None:
        raise SettingsError(
            "plan needs rows: --data DATA ..., --stream FILE, for rounds of drawn answers --prompts FILE; or "
            "--prompt-tokens N and --answer-tokens N in their place. For instance: truenorth plan dpo --model my-sft "
            "--prompt-tokens 300 --answer-tokens 200"
        )
    if planned.by_numbers and files:
        given = "--data" if run.data else "--prompts"
        raise SettingsError(f"give {given}, or --prompt-tokens and --answer-tokens, not both.")
    if not planned.by_numbers and run.stream is not None and run.stream.path == STANDARD_INPUT:
        raise SettingsError(
            "how long the rows of standard input are, nobody knows before they come, and a plan must not take them: "
            "say it with --prompt-tokens N --answer-tokens N."
        )
    if not planned.by_numbers and run.stream is not None:
        check_file(Path(run.stream.path))
    if run.stream is not None and planned.devices > 1:
        raise SettingsError(f"a stream is trained on by one process, got --devices {planned.devices}. Leave it out.")
    if planned.gpu is not None:
        from ..evaluate.machines import gpu

        gpu(planned.gpu)
