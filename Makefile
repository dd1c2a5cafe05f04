# `make run` and `make test` are each enough alone; both set up what is missing first.

PYTHON ?= python3
BIN := .venv/bin
UV := .venv/tools/bin/uv

.PHONY: run test check format setup lock clean

run: setup
	@$(BIN)/mnist-tfx run $(ARGS)

test: setup
	@$(BIN)/python -m pytest $(ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup:
	@$(PYTHON) bootstrap/install.py

# Resolves the locks anew, for every supported Python at once; no addresses are written.
lock: setup
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	  --no-header --extra dev --no-emit-package pyfarmhash \
	  --output-file requirements.lock pyproject.toml
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	  --no-header --output-file bootstrap/tools.lock bootstrap/tools.in

clean:
	rm -rf .venv .venv.log .venv.lock
