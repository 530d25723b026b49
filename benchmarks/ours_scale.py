"""One process of the benchmark of large files: from a file of rows to the first step's batches, and what it took."""

import json
import resource
import sys
from pathlib import Path

from protocol import peak_memory
from transformers import AutoTokenizer

from truenorth.data.loader import Steps
from truenorth.data.options import DataSettings
from truenorth.data.prepare import prepare


def main() -> None:
    settings = json.loads(sys.argv[1])
    tokenizer = AutoTokenizer.from_pretrained(settings["tokenizer"])
    begun = peak_memory()
    rows = prepare([(settings["rows"], 1.0)], tokenizer, settings=DataSettings(), cache=Path(settings["cache"])).rows
    steps = Steps(rows, 64, epochs=2)
    batches = steps.batches(0, budget=8192)
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # of the largest one
    print(
        json.dumps(
            {
                "rows": len(rows),
                "identity": rows.identity,  # what a run compares with its checkpoint's
                "prompts": sum(batch.prompts for batch in batches),
                "begun": begun,
                "peak": peak_memory(),
                "workers_peak": children if sys.platform == "darwin" else children * 1024,
            }
        )
    )


if __name__ == "__main__":
    main()
