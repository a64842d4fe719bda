# Everything a developer or a first-time user types. Each target sets up what it needs (tools/setup says what it does).
SHELL := /bin/sh
BIN := .venv/bin

.PHONY: demo test test-compiled fuzz soak soak-crash check bench setup format requirements clean soak-hour help

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: ## a virtual environment with pinned versions and the built wheel
	@tools/setup

demo: ## start the demo and leave it running; CHECK=1 compares every charge and stops
	@tools/setup $(if $(CHECK),chromium)
	@$(BIN)/farebox demo $(if $(CHECK),--check) $(if $(CHECK),,--data farebox-data)

check: ## lint, types and architecture
	@tools/setup
	$(BIN)/ruff check src tests tools
	$(BIN)/ruff format --check src tests tools
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check ## everything CI runs; made-up cases are those of seed 1, FAREBOX_SEED=n of another
	@tools/setup chromium curl nginx npm
	FAREBOX_SEED=$${FAREBOX_SEED:-1} timeout --kill-after=30 4800 $(BIN)/pytest $(PYTEST)

test-compiled: ## the same wheel compiled to C (FAREBOX_COMPILE=1) before the tests of what is compiled; needs a C compiler
	@FAREBOX_COMPILE=1 tools/setup nginx
	timeout --kill-after=30 4800 $(BIN)/pytest -m "not sources" tests/domain tests/quota tests/contracts tests/journal tests/gateway tests/metrics

soak: ## the quota model without end, until Ctrl-C or a broken promise; FAREBOX_SEED=n begins there
	@tools/setup
	PYTHONPATH=tests $(BIN)/python -m contracts.quota_soak

KILLS := 10000
soak-crash: ## kill -9 at 10,000 points and moments, the books judged after each round; KILLS=n, SEED=n replays the choices
	@tools/setup
	FAREBOX_CRASHES=$$(( $(KILLS) * 94 / 100 )) FAREBOX_KILLS=$$(( $(KILLS) * 5 / 100 )) \
	FAREBOX_SUPERVISOR_KILLS=$$(( $(KILLS) / 100 )) $(if $(SEED),FAREBOX_SEED=$(SEED)) $(BIN)/pytest -s tests/crash

fuzz: ## parser, card matcher and CRM API on made-up input without end, or FUZZ_SECONDS=n; FAREBOX_SEED=n begins there
	@tools/setup
	$(BIN)/python tools/fuzz.py

bench: ## gateway against nginx on the same core, Envoy and LiteLLM beside; prints and writes build/bench.json
	@tools/setup nginx wrk
	-@$(if $(findstring --no-peers,$(BENCH)),,tools/setup-peers)
	$(BIN)/python tools/bench.py $(BENCH)

soak-hour: ## an hour at half load: memory, journal, p99; SOAK="--minutes 3" for less; writes build/soak.json
	@tools/setup nginx
	$(BIN)/python tools/soak_hour.py $(SOAK)

format: ## put the source into its standard form
	@tools/setup
	$(BIN)/ruff format src tests tools
	$(BIN)/ruff check --fix src tests tools

requirements: ## pin every dependency again, with hashes (needs uv)
	uv pip compile -q --upgrade --generate-hashes --no-emit-index-url --no-header --python-version 3.11 pyproject.toml -o requirements/run.txt
	uv pip compile -q --upgrade --generate-hashes --no-emit-index-url --no-header --python-version 3.11 pyproject.toml --group dev -o requirements/dev.txt

clean: ## remove what was made here (not the demo's data)
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
