# make train and make test do everything on a fresh machine; make help lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Arguments for `gatewise train`: make train ARGS="experiment=series/sunspots model=gru"
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup train test test-slow test-gpu cases check format wheel clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## Create .venv with Gatewise and pinned dependencies

train: $(VENV)/.installed ## Train the default experiment (ARGS="experiment=... model=...")
	@$(BIN)/gatewise train $(ARGS)

test: $(VENV)/.installed-dev ## Run the tests, but for the slow ones
	$(BIN)/pytest -q -n auto --dist loadfile --no-loadscope-reorder

test-slow: $(VENV)/.installed-dev ## Run the slow tests
	$(BIN)/pytest -q -m slow

test-gpu: $(VENV)/.installed-dev ## Run the tests that need a CUDA device
	$(BIN)/pytest -q -m gpu -n auto --maxprocesses 12

cases: $(VENV)/.installed-dev ## Run the small inputs that were once answered wrongly, with what comes
	$(BIN)/pytest -v -m "" tests/e2e/test_cases_*.py

check: $(VENV)/.installed-dev ## Lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(VENV)/.installed-dev ## Build a wheel into dist/
	$(BIN)/python -m build --wheel

clean: ## Remove .venv and caches; runs/ stays
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "Gatewise needs Python 3.10 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make train PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  rm -rf $(VENV); \
	  echo "Python's venv module is missing. On Debian or Ubuntu: apt install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing Gatewise and what it needs into $(VENV) (about two minutes, once) ..."
	@$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Installing the test tools ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
