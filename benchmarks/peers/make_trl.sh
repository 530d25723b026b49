#!/usr/bin/env bash
# Make TRL's own virtual environment, beside this file, for the benchmarks that compare with it. Needs Python >= 3.11.
# Its packages have the versions of constraints.txt, so that both sides run on the same torch and transformers.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
constraints="$here/../../constraints.txt"
environment="$here/.venv-trl"

"${PYTHON:-python3}" -m venv "$environment"
pip=("$environment/bin/python" -m pip install --quiet --disable-pip-version-check -c "$constraints")
"${pip[@]}" torch==2.13.0  # first: by itself, so that pip takes the build that this machine's index offers
"${pip[@]}" trl==1.16.0 transformers==5.23.0 accelerate peft datasets numpy psutil
"$environment/bin/python" -c 'import torch, transformers, trl; print(trl.__version__, transformers.__version__, torch.__version__)'
