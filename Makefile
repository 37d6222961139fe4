# The two commands of the README: `make demo` and `make test`.
# Packages are installed into .venv with the versions of constraints.txt. Use a separate folder for
# another Python: make unit PYTHON=python3.13 VENV=.venv-3.13

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A worker of pytest that has no tests left takes some of another's.
PYTEST := $(BIN)/pytest -n auto --dist worksteal
# Some images of Docker set it. Without bytecode, each start of Python compiles everything again.
export PYTHONDONTWRITEBYTECODE :=
# Its notice is not what make demo is about.
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test lint types unit real thorough programs image docs picture dist sbom fuzz lowest format bench clean

help:
	@echo "make demo   two nights of a local registry, and what changed"
	@echo "make test   lint, type check and all tests"
	@echo "make unit   the tests that need no other program (unit, property, flow)"
	@echo "make real   the tests against real registries, skopeo and a browser; Go builds some"
	@echo "make docs   the documentation as a site, in site/"
	@echo "make thorough  forty times as many examples of the properties, every official image (an hour)"
	@echo "make image  the container image of deploy/container/, with docker or podman"
	@echo "make picture  the picture of the README, from a real run"
	@echo "make dist   wheel and source distribution, checked, in dist/; make sbom adds an SBOM"
	@echo "make fuzz   coverage-guided fuzzing of every parser, one minute each"
	@echo "make lowest make unit with the lowest supported versions of the dependencies"
	@echo "make bench  measure auditor and other tools on a local registry (takes minutes)"
	@echo "make clean  remove everything that make created"

demo: $(VENV)/.demo
	$(BIN)/auditor demo

test: lint types
	$(PYTEST)

unit: $(VENV)/.dev
	$(PYTEST) tests/unit tests/property tests/flow

real: programs
	$(PYTEST) tests/real

# The number of examples is at each property; other tests try a quarter of it, and this ten times.
thorough: $(VENV)/.dev
	$(PYTEST) tests/property tests/flow/test_chaos.py tests/flow/test_resume.py \
	  tests/real/test_official_images.py \
	  --hypothesis-profile thorough

# The registries and clients that Go builds, into .go/; what cannot be had is named.
programs: $(VENV)/.dev
	$(BIN)/python -m tests.real.go_programs

docs: $(VENV)/.dev
	$(BIN)/python -m scripts.reference_pages
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build
	@echo "to read it, with search: $(PYTHON) -m http.server --directory site"

ENGINE ?= docker
IMAGE ?= registry.example.com/auditor:0.1.0

image:
	$(ENGINE) build -f deploy/container/Dockerfile -t $(IMAGE) .

# The terminal of the README, from a real run.
picture: $(VENV)/.dev
	$(BIN)/python -m scripts.terminal_picture

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
	  { echo "auditor needs Python 3.11 or newer; choose one: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.demo

# Coverage-guided, one minute for each parser; a finding is written to a file crash-...
fuzz: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[fuzz]'
	$(BIN)/python -m tests.fuzz all -max_total_time=60

# The tests that need no other program, with the lowest versions that pyproject.toml allows.
lowest:
	$(PYTHON) -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/python -m pip install --quiet --constraint constraints-lowest.txt --editable '.[dev]'
	$(VENV)-lowest/bin/pytest -n auto --dist worksteal tests/unit tests/property tests/flow

# What a release publishes.
dist: $(VENV)/.dev
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/twine check --strict dist/*.whl dist/*.tar.gz

# Of an environment with the wheel and the packages that it needs, in their tested versions.
sbom: $(VENV)/.dev
	rm -rf $(VENV)-sbom
	$(PYTHON) -m venv --without-pip $(VENV)-sbom
	$(BIN)/python -m pip --python $(VENV)-sbom/bin/python install --quiet --constraint constraints.txt dist/*.whl
	$(BIN)/python -m pip install --quiet --constraint constraints.txt cyclonedx-bom
	$(BIN)/cyclonedx-py environment --of JSON -o dist/sbom.cdx.json $(VENV)-sbom/bin/python

# wrk, skopeo and docker-registry come from the system, the rest is built by Go; missing programs
# are named and skipped. See bench/README.md.
bench: programs
	$(BIN)/python -m bench.throughput

clean:
	rm -rf $(VENV) .venv-* .go dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis
