# The two commands of the README: `make demo` and `make test`.
# Everything is installed into .venv with the versions of constraints.txt. Another Python gets
# a folder of its own: make unit PYTHON=python3.13 VENV=.venv-3.13

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test lint types unit fuzz lowest format bench clean

help:
	@echo "make demo   run a local registry and audit it"
	@echo "make test   lint, type check and all tests"
	@echo "make unit   the tests that need no other program"
	@echo "make fuzz   let coverage lead random inputs into every parser"
	@echo "make lowest the same with the oldest versions of the dependencies"
	@echo "make bench  measure auditor and its peers on a registry here (takes minutes)"
	@echo "make clean  remove what make has made"

demo: $(VENV)/.demo
	$(BIN)/auditor demo

test: lint types
	$(BIN)/pytest -n auto --dist loadfile

unit: $(VENV)/.dev
	$(BIN)/pytest tests/unit tests/property tests/flow

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive auditor

types: $(VENV)/.dev
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "auditor needs Python 3.11 or newer; name one: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.demo

# Coverage-guided, a minute for each parser: what it finds is in a file crash-...
fuzz: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[fuzz]'
	$(BIN)/python -m tests.fuzz all -max_total_time=60

# The tests that need no other program, with the oldest versions that pyproject.toml allows.
lowest:
	$(PYTHON) -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/python -m pip install --quiet --constraint constraints-lowest.txt --editable '.[dev]'
	$(VENV)-lowest/bin/pytest tests/unit tests/property tests/flow

# wrk, skopeo and docker-registry come from the system, the rest is built by Go; what is
# missing is named and left out. bench/README.md tells more.
bench: $(VENV)/.dev
	$(BIN)/python -m bench.throughput --install

clean:
	rm -rf $(VENV) .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis
