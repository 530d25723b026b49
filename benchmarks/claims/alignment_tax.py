"""What alignment costs, and what merging buys back: oracle reward against abilities in the embedded world.

    python benchmarks/claims/alignment_tax.py [--tiny] [--seeds 1 2] [--tables] [--folder FOLDER]

Runs are appended to alignment_tax.csv as they end; those that it has are not run again, so that a sweep that was
killed goes on, and several processes share it. Take the file away to do all anew: 40 minutes of processor. `--tables`
only prints what the csv has, and draws docs/alignment-tax.svg. docs/claims.md says what came out.
"""

import argparse
import fcntl
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from drawn import SFT, pairs, prompts, rated, write_rows
from picture_tax import draw
from tax_cells import BASE, EMA, MERGED, PARENT, STEPS, Cell, Merged, plan
from tax_measures import Abilities
from tax_points import FILE, Key, append, read
from tax_tables import print_tables
from torch import Tensor
from trained import MAX_LENGTH, Point, stops

from truenorth import merge
from truenorth.data.cache import cache_folder
from truenorth.errors import NumericsError
from truenorth.models.load import load_model, load_tokenizer
from truenorth.models.logprobs import Model
from truenorth.models.modes import evaluating
from truenorth.run import DataSource, LoRA, Run
from truenorth.session import Session

BATCH = 16  # pairs
RANK = 8  # of LoRA; the model is 128 wide
ALIGNED = ""  # the name of what a run ends with, beside those of its merges


@dataclass(frozen=True, slots=True)
class Bench:
    """What is measured, and where it goes."""

    abilities: Abilities
    folder: Path
    file: Path  # the csv
    steps: int
    asked: int  # requests that are trained on

    def start(self) -> None:
        """Measure the SFT model itself, and what adding to it some of its own task vector makes of it."""
        for pull in (0.0, 0.05, 0.2, 1.0):
            key = Key("SFT", pull=f"{pull:g}" if pull else "")
            if key not in read(self.file):
                with tempfile.TemporaryDirectory() as work:
                    folder = merge("expo", [SFT], base=BASE, out=Path(work) / "out", alpha=pull, dtype="float32")
                    append(self.file, {key: self.abilities.of(load_model(str(folder)).eval())})

    def run(self, cell: Cell, seed: int) -> None:
        """Train, measure, merge and measure again, unless the csv has it."""
        key = Key(*cell.key, str(seed), ALIGNED)
        with claimed(self.folder / "claimed", str(key)) as ours:
            if ours and key not in read(self.file):
                self.add(cell, seed, key)

    def add(self, cell: Cell, seed: int, key: Key) -> None:
        began = time.process_time()
        with tempfile.TemporaryDirectory() as work:
            try:
                found = self.measured(cell, seed, Path(work))
            except NumericsError:  # no number is worth less than any: the line stays empty
                found = {ALIGNED: Point()}
        append(self.file, {replace(key, after=name): point for name, point in found.items()})
        reward = found[ALIGNED].get("reward", float("nan"))
        print(f"{key}: reward {reward:.3f}, {time.process_time() - began:.0f} s of processor", flush=True)

    def measured(self, cell: Cell, seed: int, work: Path) -> dict[str, Point]:
        """What was measured of a run's end, and of its merges and moving averages by their names."""
        moving, found = dict[float, dict[str, Tensor]](), dict[str, Point]()
        is_parent = cell == PARENT

        def began(session: Session) -> None:
            if is_parent:
                moving.update(follow(session, EMA))

        def look(session: Session, point: Point) -> Point:
            with session.policy.attending_natively(), evaluating(session.policy.model):
                if is_parent:
                    session.policy.model.save_pretrained(str(work / "aligned"))
                    load_tokenizer(SFT).save_pretrained(str(work / "aligned"))
                return point | self.abilities.of(session.policy.model)

        rows, many = self.rows(seed), 2 if cell.loss == "kto" else 1  # KTO takes the pairs apart
        run = Run(
            model=SFT, data=[DataSource(path=str(rows))], out=work / "run", seed=seed, max_steps=self.steps,
            batch_size=many * BATCH, max_length=MAX_LENGTH, precision="float32", tokens_per_micro_batch=8192,
            lora=LoRA(rank=RANK) if cell.arm == "LoRA" else None,
        )  # fmt: skip
        found[ALIGNED] = stops(cell.recipe(), run, (rows, None), at=[self.steps], look=look, began=began)[0]
        for share, weights in moving.items():
            model = load_model(SFT).eval()
            model.load_state_dict(weights, strict=False)
            found[f"EMA {share:g}"] = self.abilities.of(model)
        if is_parent:
            found |= {how.name: self.abilities.of(merged(how, work / "aligned", work)) for how in MERGED}
        return found

    def rows(self, seed: int) -> Path:
        """The file of a seed's own pairs."""
        file = self.folder / f"pairs-seed{seed}.jsonl"
        if not file.exists():
            drawn = rated(prompts("train")[: self.asked], answers=4, seed=seed, folder=self.folder)
            write_rows(file, pairs(drawn))
        return file


@contextmanager
def claimed(folder: Path, name: str) -> Generator[bool]:
    """Whether no other process has this at hand. A process that dies lets go of it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name.replace(" ", "_")).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def follow(session: Session, shares: Sequence[float]) -> dict[float, dict[str, Tensor]]:
    """Moving averages of the weights by share, which follow each step of the session: it holds what they become."""
    trained = session.player.named_parameters
    averages = {share: {name: p.detach().clone() for name, p in trained.items()} for share in shares}

    def move(*_: object) -> None:
        for share, average in averages.items():
            for name, tensor in average.items():
                tensor.lerp_(trained[name].detach(), share)

    session.player.optimizer.register_step_post_hook(move)
    return averages


def merged(how: Merged, aligned: Path, work: Path) -> Model:
    """The merge of an aligned model, by way of the disk as anyone's."""
    models, base = ([aligned, SFT], BASE) if how.with_sft else ([aligned], SFT)
    out = work / how.name.replace(" ", "-")
    return load_model(str(merge(how.method, models, base=base, out=out, **how.settings))).eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="five minutes: tries the script, and shows nothing else")
    parser.add_argument("--seeds", type=int, nargs="*", help="some of the seeds")
    parser.add_argument("--tables", action="store_true", help="print the tables of the csv and draw it, run nothing")
    parser.add_argument("--folder", type=Path, default=cache_folder() / "claims", help="where drawn answers are kept")
    given = parser.parse_args()
    if not given.tables:
        torch.set_num_threads(1)  # a million weights gain nothing from a second one
        bench = tiny(given.folder) if given.tiny else whole(given.folder)
        bench.start()
        for cell, seed in plan():
            if given.seeds is None or seed in given.seeds:
                bench.run(cell, seed)
    if not given.tiny:
        print_tables(read(FILE))
        draw(read(FILE))


def whole(folder: Path) -> Bench:
    return Bench(Abilities(), folder / "alignment_tax", FILE, STEPS, asked=512)


def tiny(folder: Path) -> Bench:
    folder = folder / "alignment_tax_tiny"
    folder.mkdir(parents=True, exist_ok=True)
    return replace(
        whole(folder), abilities=Abilities(requests=8, texts=8), file=folder / "tiny.csv", steps=2, asked=24
    )


if __name__ == "__main__":
    main()
