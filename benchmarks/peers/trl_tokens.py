"""TRL's side of the tokenisation benchmark: what `DPOTrainer` does to a file's rows, each time from nothing."""

import json
import shutil
import sys
from pathlib import Path

import datasets
import tokenizers
import trl
from protocol import Parent
from transformers import AutoTokenizer


def main() -> None:
    settings = json.loads(sys.argv[1])
    parent = Parent()
    tokenizer = AutoTokenizer.from_pretrained(settings["model"])
    cache = Path(settings["folder"]) / "datasets"
    processes = settings["processes"] if settings["processes"] > 1 else None  # None is TRL's default: this one
    config = trl.DPOConfig(
        output_dir=settings["folder"], use_cpu=True, max_length=2048, report_to="none", dataset_num_proc=processes
    )
    few = datasets.Dataset.from_list([{"prompt": "a", "chosen": " b", "rejected": " c"}])
    alone = trl.DPOConfig(output_dir=settings["folder"], use_cpu=True, report_to="none")
    trainer = trl.DPOTrainer(settings["model"], args=alone, train_dataset=few, processing_class=tokenizer)
    datasets.disable_progress_bars()
    made: list[int] = []
    parent.send({"trl": trl.__version__, "tokenizers": tokenizers.__version__})
    while True:
        parent.wait_for_step({"tokens": lambda: {"tokens": made[-1]}})
        rows = datasets.load_dataset("json", data_files=settings["rows"], split="train", cache_dir=str(cache))
        rows = trainer._prepare_dataset(rows, tokenizer, config, "train")
        parent.step_is_done({})
        made.append(sum(map(_tokens, rows)))
        shutil.rmtree(cache)


def _tokens(row: dict[str, list[int]]) -> int:
    return len(row["prompt_ids"]) + len(row["chosen_ids"]) + len(row["rejected_ids"])


if __name__ == "__main__":
    main()
