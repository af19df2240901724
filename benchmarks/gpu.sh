#!/bin/bash
# Every figure that needs a GPU, in one run of at most eight minutes (python -m benchmarks.gpu --help):
#
#   benchmarks/gpu.sh --output pages
#
# For a machine without a network: pack here what it lacks, 34 MB for Python 3.12 on x86-64 (FOR_PYTHON=3.13: another),
#
#   benchmarks/gpu.sh --pack
#
# take the checkout and .gpu there, and run it as above: packages and data are found in .gpu. What
# cannot be packed (vLLM, half a gigabyte) is measured where it is installed, and else left out by name.
set -u
cd "$(dirname "$0")/.." || exit 2
PYTHON=${PYTHON:-python3}

# What an image with torch, transformers, accelerate, peft and pandas lacks; versions are ours.
BUILT="annotated-types multiprocess pydantic-core pydantic typing-inspection"
PURE="chardet dataproperty datasets defusedxml dill evaluate httpcore2 httpx2 lm-eval mbstrdecoder
  more-itertools nltk pathvalidate pytablewriter rouge-score sqlitedict tabledata
  tcolorpy trl truststore typepy word2number"
DATA="bbq_lite_json crows_pairs ethics hhh_alignment winogrande preference"

pack() {
  local data=${BFPO_DATA_DIR:-../shared/data} name
  rm -rf .gpu && mkdir -p .gpu/wheels .gpu/data
  "$PYTHON" -m pip download -q --no-deps --only-binary=:all: --implementation cp \
    --python-version "${FOR_PYTHON:-3.12}" --platform manylinux_2_17_x86_64 \
    --platform manylinux2014_x86_64 -d .gpu/wheels -c constraints.txt $BUILT || return 1
  "$PYTHON" -m pip wheel -q --no-deps -w .gpu/wheels -c constraints.txt $PURE || return 1
  for name in $DATA; do
    if [ -d "$data/$name" ]; then cp -r "$data/$name" .gpu/data/; else echo "no $data/$name" >&2; fi
  done
  du -sh .gpu
}

if [ "${1:-}" = --pack ]; then pack; exit; fi

if [ -d .gpu/wheels ]; then
  site=$(mktemp -d)
  "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" \
    .gpu/wheels/*.whl || exit 2
  export PYTHONPATH="$PWD:$site${PYTHONPATH:+:$PYTHONPATH}"
fi
if [ -z "${BFPO_DATA_DIR:-}" ] && [ -d .gpu/data ]; then export BFPO_DATA_DIR="$PWD/.gpu/data"; fi
# Weights of 15 GB are read once by each contender: from memory, where there is room for them.
if [ "$(df --output=avail -B G /dev/shm 2>/dev/null | tail -1 | tr -dc 0-9)" -ge 40 ] 2>/dev/null; then
  export BFPO_BENCH_MODELS=${BFPO_BENCH_MODELS:-/dev/shm/bfpo-bench-models}
fi
export HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1 TQDM_DISABLE=1
exec "$PYTHON" -m benchmarks.gpu "$@"
