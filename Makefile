# The two commands of the README are `make quickstart` and `make test`; each installs what is missing.

VENV ?= .venv
PYTHON ?= python3
BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed
OUTPUT ?= build/quickstart

.PHONY: install quickstart test test-cluster lint bench clean

install: $(INSTALLED)

# torch first and by its pin: a range would take a build with several GB of CUDA.
$(INSTALLED): constraints.txt pyproject.toml
	@echo "installing into $(VENV): about a minute"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $(shell grep '^torch==' constraints.txt)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

quickstart: install
	$(BIN)/python jobs/quickstart.py --output $(OUTPUT)

# First what needs no Ray, in two processes; then what shares one Ray of two cores.
test: install
	$(BIN)/python -m pytest -n 2 -m "not ray and not cluster"
	$(BIN)/python -m pytest -m "ray and not cluster"

# Several Ray nodes on this machine, killed and added in the middle of jobs; every fault in every phase: minutes.
test-cluster: install
	$(BIN)/python -m pytest -m cluster

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install
	$(BIN)/python benchmarks/encoding.py
	$(BIN)/python benchmarks/training_step.py
	$(BIN)/python benchmarks/training_step.py --keep-memory
	$(BIN)/python benchmarks/tokenization.py

clean:
	rm -rf build $(VENV)
