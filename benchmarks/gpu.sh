#!/usr/bin/env bash
# Everything that is to be measured on one GPU, in one call, most wanted first. Each part appends its line to results.csv
# when it is done, and what it had when it is cut off; parts can be named to run only those.
#
#     benchmarks/gpu.sh [--tiny] [PART ...]      parts: 1b-a 1b-d4 8b-a-lora 8b-d4-lora 1b-c
#
# --tiny tries the script itself on any machine, in a minute or two.
#
#   PYTHON    a Python >= 3.11; if it has torch, that torch is used, and must see the GPU (default: python3)
#   WHEELS    folder with wheels of what PYTHON lacks, for a machine without internet (default: pip's index)
#   OURS      a Python that has all that truenorth needs; THEIRS one with TRL 1.16. Without them an environment for both
#             is made beside this file.
#   SECONDS_A_PART  after which a part is cut off (default: 280)
#   OUT       folder for results.csv (default: this one)
#   MODELS    folder for random models, 18 GB (default: a temporary one)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
out=${OUT:-$here}
limit=${SECONDS_A_PART:-280}
models=${MODELS:-$(mktemp -d)}
tiny=()
parts=()
for word in "$@"; do
    if [[ $word == --tiny ]]; then tiny=(--tiny); else parts+=("$word"); fi
done
if ((${#parts[@]} == 0)); then parts=(1b-a 1b-d4 8b-a-lora 8b-d4-lora 1b-c); fi

make_environment() { # of both sides, at $1
    local python=${PYTHON:-python3} pip pins='^' where='import sysconfig; print(sysconfig.get_path("purelib"))'
    "$python" -m venv "$1"
    if "$python" -c 'import torch' 2>/dev/null; then
        # By a .pth: PYTHON may be an environment itself, whose packages --system-site-packages would not see.
        "$python" -c "$where" >"$("$1/bin/python" -c "$where")/base.pth"
        pins='^\(transformers\|tokenizers\|peft\|huggingface_hub\)==' # the rest as PYTHON has it
    fi
    grep "$pins" "$root/constraints.txt" >"$1/constraints.txt"
    pip=("$1/bin/python" -m pip install --quiet --disable-pip-version-check -c "$1/constraints.txt")
    if [[ -n ${WHEELS:-} ]]; then pip+=(--no-index --find-links "$WHEELS"); fi
    "${pip[@]}" torch transformers peft datasets safetensors pydantic typer rich pyyaml jinja2 matplotlib pyarrow \
        numpy accelerate psutil
    "${pip[@]}" trl==1.16.0 || echo "TRL 1.16 could not be installed: our side alone is measured."
    touch "$1/.made"
}

environment="$here/peers/.venv-gpu"
if [[ -z ${OURS:-} && ! -e $environment/.made ]]; then make_environment "$environment"; fi
ours=${OURS:-$environment/bin/python}
theirs=${THEIRS:-$environment/bin/python}
export PYTHONPATH="$root" HF_HUB_OFFLINE=1 PYTORCH_ALLOC_CONF=${PYTORCH_ALLOC_CONF:-expandable_segments:True}

"$ours" -c 'import truenorth.session' || { echo "$ours lacks something that truenorth needs, see above." >&2; exit 1; }
if "$ours" -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
    if "$ours" -c 'import pytest, hypothesis' 2>/dev/null; then # first: is what is timed right?
        (cd "$root" && timeout 120 "$ours" -m pytest -q --tb=line -m gpu tests/models tests/train) ||
            echo "Some tests that need a GPU fail, see above." >&2
    fi
elif ((${#tiny[@]} > 0)); then
    echo "No GPU here: the script is tried on the CPU, and its figures say nothing about a GPU."
else
    echo "torch sees no GPU here, and these models are too large for anything else. --tiny tries the script." >&2
    exit 1
fi
more=()
if "$theirs" -c 'import trl' 2>/dev/null; then more=(--theirs "$theirs"); else echo "No TRL: our side alone."; fi

mkdir -p "$out" "$models"
failed=()
for part in "${parts[@]}"; do
    timeout --kill-after=20 "$limit" "$ours" "$here/gpu.py" "$part" --ours "$ours" "${more[@]}" \
        --models "$models" --results "$out/results.csv" --seconds "$((limit * 3 / 4))" "${tiny[@]}" || failed+=("$part")
done
if [[ -z ${MODELS:-} ]]; then rm -rf "$models"; fi
if ((${#failed[@]} > 0)); then
    echo "not finished: ${failed[*]} (what they had measured is in $out/results.csv)" >&2
    exit 1
fi
