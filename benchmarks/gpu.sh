#!/usr/bin/env bash
# benchmarks/gpu.sh [--out gpu.json] [--minutes 8] [--only PART ...] [--device cpu --quick]
# Measure all that needs a GPU: print a table and write one JSON. Needs no network.
# PYTHON sets the interpreter; otherwise it is .venv's, or the first whose torch sees a GPU.
cd "$(dirname "$0")/.." || exit 1
export PYTHONPATH="$PWD/src:$PWD/benchmarks:$PWD/tests${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
check='import sys, torch; sys.exit(None if "cpu" in sys.argv or torch.cuda.is_available() else "its torch sees no GPU")'
for python in ${PYTHON:-.venv/bin/python python3 python}; do
  reason=$("$python" -c "$check" "$@" 2>&1) && exec "$python" benchmarks/gpu.py "$@"
  echo "gpu.sh: not $python: ${reason##*$'\n'}" >&2
done
echo "gpu.sh: set PYTHON to an interpreter with torch for CUDA and the packages of pyproject.toml" >&2
exit 1
