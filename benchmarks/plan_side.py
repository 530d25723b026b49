"""The child of benchmarks/plan.py: three steps as `truenorth train` takes them, and the peak of memory."""

import sys
from pathlib import Path

import torch
import typer

from truenorth.data.prepare import prepare
from truenorth.evaluate.progress import Silent
from truenorth.flags import FLAGS, Given, Spread, takes
from truenorth.job import data_settings
from truenorth.models.load import load_tokenizer
from truenorth.request import request
from truenorth.session import begin
from truenorth.train.resident import peak_memory
from truenorth.train.step import train_step

STEPS = 3
app = typer.Typer()


@app.command(cls=Spread)
@takes(FLAGS)
def steps(method: str, *, given: Given) -> None:
    asked = request(method, {**given, "max_steps": str(STEPS)})
    recipe, run = asked.recipe(), asked.run
    Path(run.out).mkdir(exist_ok=True)
    sources = [(source.path, source.share) for source in run.data]
    data = prepare(sources, load_tokenizer(run.model), settings=data_settings(recipe, run))
    session = begin(recipe, run, (data, None), saved=None, watch=Silent())
    for step in range(STEPS):
        batches = session.steps.batches(step, budget=session.budget)
        train_step([session.player], batches, session.references)
    print(torch.cuda.max_memory_allocated() if torch.cuda.is_available() else peak_memory())


if __name__ == "__main__":
    sys.exit(app())
