# `make run` and `make test` are each enough alone; both set up what is missing first.

PYTHON ?= python3
BIN := .venv/bin
UV := .venv/tools/bin/uv

IMAGE ?= mnist-tfx:latest

.PHONY: run test check format setup lock bench-serving bench-evaluator image test-image clean

run: setup
	@$(BIN)/mnist-tfx run $(ARGS)

test: setup
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile $(ARGS)

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

# The embedded model server against the same model in process; takes about five minutes.
bench-serving: setup
	@$(BIN)/python tests/benchmarks/model_server.py $(ARGS)

# The Evaluator on clean images, on all corruptions, and with a champion; about six minutes.
bench-evaluator: setup
	@$(BIN)/python tests/benchmarks/evaluator.py

# The image that Kubeflow's tasks run in. PIP_CONF names a pip.conf, for a registry of your own.
image:
	@docker info >/dev/null 2>&1 || { echo "no Docker engine answers here: start one."; exit 1; }
	DOCKER_BUILDKIT=1 docker build -f pipeline/deploy/Dockerfile -t $(IMAGE) \
	  $(if $(PIP_CONF),--secret id=pip$(comma)src=$(PIP_CONF)) $(DOCKER_ARGS) .

# The compiled pipeline in real containers of that image, by KFP's own local runner.
test-image: setup
	@if docker info >/dev/null 2>&1; then $(MAKE) --no-print-directory image; fi
	@$(BIN)/python -m pytest tests/image --image $(IMAGE) $(ARGS)

comma := ,

clean:
	rm -rf .venv .venv.log .venv.lock
