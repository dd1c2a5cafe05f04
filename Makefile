# `make run` and `make test` each work alone; both set up what is missing first.

PYTHON ?= python3
BIN := .venv/bin
AUDIT := .venv/audit/bin
UV := .venv/tools/bin/uv

IMAGE ?= mnist-tfx:latest
DOCKER ?= docker

.PHONY: help run test check audit format coverage setup lock bench bench-serving bench-evaluator bench-growth chaos fuzz soak release-check docs pictures image test-image cluster cluster-down test-cluster test-flink clean

help:  ## list these commands
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

run: setup  ## run the pipeline, push the model, query it
	@$(BIN)/mnist-tfx run $(ARGS)

BENCH := TF_CPP_MIN_LOG_LEVEL=3 PYTHONPATH=tests $(BIN)/python -m benchmarks
PYTEST := -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

test: setup  ## the tests; ARGS="tests/serving -k tls" for some of them
	@$(BIN)/python $(PYTEST) $(ARGS)

check: setup  ## ruff, mypy, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Dependencies that are undeclared or unused, licences, a list of all packages (CycloneDX), and known
# vulnerabilities, from OSV's database; AUDIT_ARGS="--osv-url URL" asks another one.
audit: setup  ## dependencies: declared, licences, vulnerabilities
	@$(PYTHON) bootstrap/install.py audit
	PYTHONPATH=$$($(BIN)/python -c "import site; print(*site.getsitepackages())") $(AUDIT)/deptry .
	$(AUDIT)/pip-licenses --python $(BIN)/python >/dev/null
	@mkdir -p build
	$(AUDIT)/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml \
	  --output-file build/sbom.cdx.json $(BIN)/python
	$(AUDIT)/pip-audit --requirement requirements.lock --disable-pip --require-hashes --strict \
	  --vulnerability-service osv --progress-spinner off $(AUDIT_ARGS)

format: setup  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The tests with coverage, also of the processes that they start; writes build/coverage/index.html.
coverage: setup  ## the tests with line coverage
	@rm -rf build/coverage && mkdir -p build/coverage
	@$(BIN)/coverage run $(PYTEST) $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage html --quiet
	@$(BIN)/coverage report --skip-covered

setup:  ## install everything into .venv
	@$(PYTHON) bootstrap/install.py

# Resolves the locks again, for every supported Python; download addresses are not written.
lock: setup  ## resolve the locks again
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	  --no-header --extra dev --no-emit-package pyfarmhash \
	  --output-file requirements.lock pyproject.toml
	for name in audit docs fuzz tools; do \
	  $(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	    --no-header --output-file bootstrap/$$name.lock bootstrap/$$name.in || exit; \
	done

# A whole run, a cached run and the program's start, against plain scripts.
bench: setup  ## a run against plain scripts (10 minutes)
	@$(BENCH).whole_run $(ARGS)

# Over gRPC and REST; also against servers that only echo.
bench-serving: setup  ## the model server against the model in process (8 minutes)
	@$(BENCH).model_server $(ARGS)

# On clean images, on all corruptions, and with a champion.
bench-evaluator: setup  ## the Evaluator (6 minutes)
	@$(BENCH).evaluator

# Seconds, memory and bytes of each component.
bench-growth: setup  ## a run with more images (20 minutes)
	@$(BENCH).growth $(ARGS)

# Also checks what is left.
chaos: setup  ## kill runs at random moments (1 hour)
	@$(BIN)/python tests/chaos/kill_runs.py $(ARGS)

# With prunes and load.
soak: setup  ## 100 runs on one workspace (1 hour)
	@$(BIN)/python tests/soak/long_life.py $(ARGS)

# 60 s for each parser of untrusted bytes; ARGS="--seconds 300 picture" for longer, or for one.
fuzz: setup  ## changed input for every parser
	@$(PYTHON) bootstrap/install.py fuzz
	@PYTHONPATH=tests:$$(.venv/fuzz/bin/python -c "import site; print(*site.getsitepackages())") \
	  $(BIN)/python -m fuzz $(ARGS)

# Writes build/site/index.html. Dead links are errors.
docs: setup  ## the documentation site
	@$(PYTHON) bootstrap/install.py docs
	@$(BIN)/python bootstrap/build_docs.py
	@NO_MKDOCS_2_WARNING=1 .venv/docs/bin/mkdocs build --quiet --strict

# The pictures in docs/, from the newest run in a workspace; needs Chromium.
pictures: setup  ## the pictures in docs/
	@TF_CPP_MIN_LOG_LEVEL=3 PYTHONPATH=tests $(BIN)/python -m pictures $(ARGS)

# Builds dist/, installs the wheel into an empty environment outside the repository, and runs it.
release-check: setup  ## build the wheel, install it elsewhere, run it
	@$(PYTHON) bootstrap/release_check.py

# The image of Kubeflow's tasks. PIP_CONF is a pip.conf, for a package registry of your own.
image:  ## the image of Kubeflow's tasks
	@$(DOCKER) info >/dev/null 2>&1 || { echo "Docker is not running; start it."; exit 1; }
	DOCKER_BUILDKIT=1 $(DOCKER) build -f pipeline/deploy/Dockerfile -t $(IMAGE) \
	  --build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) \
	  $(if $(PIP_CONF),--secret id=pip$(comma)src=$(PIP_CONF)) $(DOCKER_ARGS) .

# Runs the compiled pipeline in real containers of that image, with KFP's own local runner.
test-image: setup  ## the compiled pipeline in containers of the image
	@if $(DOCKER) info >/dev/null 2>&1; then $(MAKE) --no-print-directory image; fi
	@$(BIN)/python -m pytest tests/image --image $(IMAGE) $(ARGS)

# A Kubernetes with Kubeflow Pipelines on this machine, from packages alone; see
# docs/real-kubeflow.md. DOCKER is a client that can build with BuildKit.
CLUSTER := DOCKER=$(DOCKER) PYTHONPATH=tests $(BIN)/python -m cluster

cluster: setup  ## start Kubernetes with Kubeflow Pipelines on this machine
	@$(CLUSTER) up

cluster-down: setup  ## stop it
	@$(CLUSTER) down

# The pipeline on that cluster.
test-cluster: setup  ## the pipeline on that cluster
	@$(BIN)/python -m pytest tests/cluster --cluster $(ARGS)

# The Beam jobs on a real Flink, which the tests start; needs Java 11 or 17 and Maven.
test-flink: setup  ## the Beam jobs on a real Flink
	@$(BIN)/python -m pytest tests/flink --flink $(ARGS)

comma := ,

clean:  ## remove .venv
	rm -rf .venv .venv.log .venv.lock
