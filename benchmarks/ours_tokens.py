"""TrueNorth's side of the tokenisation benchmark: a file's checked and tokenised rows, each time from nothing."""

import json
import shutil
import sys
from pathlib import Path

from protocol import Parent

from truenorth.data.options import DataSettings
from truenorth.data.prepare import prepare
from truenorth.models.load import load_tokenizer


def main() -> None:
    settings = json.loads(sys.argv[1])
    parent = Parent()
    tokenizer = load_tokenizer(settings["model"])
    cache = Path(settings["folder"]) / "cache"
    made: list[int] = []
    parent.send({})
    while True:
        parent.wait_for_step({"tokens": lambda: {"tokens": made[-1]}})
        prepared = prepare([(settings["rows"], 1.0)], tokenizer, settings=DataSettings(on_problem="keep"), cache=cache)
        parent.step_is_done({})
        made.append(int(prepared.rows.lengths.sum()))
        shutil.rmtree(cache)


if __name__ == "__main__":
    main()
