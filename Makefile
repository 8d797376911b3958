# Everything one does with this repository. Needs Linux, make and Python 3.11, 3.12 or 3.13.

# Tried in this order; the first that is new enough and can make virtual environments is taken.
PYTHON ?= python3 python3.13 python3.12 python3.11
VENV ?= .venv
ARGS ?=
# Processes that run tests, each a file at a time. Most tests wait: more of them than cores is right. Tests that
# judge by seconds what several processes do (marked `alone`) run after the others, one at a time.
WORKERS ?= 3
MINUTES ?= 10
BOTS ?= 100
SEED ?= 1
EXAMPLES ?= 500
REQUESTS ?= 20000

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
# dota2 and steam come without wheels (both are pure Python); nothing else is built.
LOCKED := --require-hashes --only-binary :all: --no-binary dota2,steam --no-build-isolation
SUITABLE := import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))

.PHONY: help run test lint types check bench chaos soak outage schema fuzz lock clean

help:
	@echo 'make run     start the service on a simulated Steam network with demo accounts'
	@echo 'make test    run all tests (ARGS="-k name" for some, WORKERS=0 in one process)'
	@echo 'make lint    check style         make types   check types'
	@echo 'make check   lint, types, test   make bench   measure'
	@echo 'make chaos   break everything for MINUTES=10 by SEED=1 (ARGS="--only FAULT": one kind)'
	@echo 'make soak    100 bots, clients and faults for MINUTES=10'
	@echo 'make outage  Steam away for MINUTES=10, BOTS=100: when all bots are back (ARGS="--kind silent")'
	@echo 'make schema  try the API against its OpenAPI document, EXAMPLES=500 for each operation'
	@echo 'make fuzz    send REQUESTS=20000 mutated requests to an idle service (FUZZ_SEED=2: others)'
	@echo 'make lock    write the lock files again (ARGS=--upgrade for newer versions)'
	@echo 'make clean   remove the virtual environment and all caches'
	@echo 'PYTHON=/path/to/python3 chooses the interpreter.'

run: $(VENV)/.installed
	@exec $(BIN)/botapi run --sandbox $(ARGS)

test: $(VENV)/.installed-tests
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m 'not alone' $(ARGS); others=$$?; \
	[ $$others = 0 ] || [ $$others = 5 ] || exit $$others; \
	$(BIN)/python -m pytest -m alone $(ARGS); alone=$$?; \
	[ $$alone != 5 ] || exit $$others; exit $$alone

lint: $(VENV)/.installed-tests
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.installed-tests
	@$(BIN)/mypy --strict supervisor actors sandbox bench tests

check: lint types test

chaos: $(VENV)/.installed-tests
	@$(BIN)/python -m bench.chaos --minutes $(MINUTES) --seed $(SEED) $(ARGS)

soak: $(VENV)/.installed-tests
	@$(BIN)/python -m bench.soak --minutes $(MINUTES) --seed $(SEED) $(ARGS)

outage: $(VENV)/.installed-tests
	@$(BIN)/python -m bench.outage --minutes $(MINUTES) --bots $(BOTS) $(ARGS)

schema: $(VENV)/.installed-tests
	@SCHEMA_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest --timeout 3600 tests/integration/test_http_schema.py $(ARGS)

fuzz: $(VENV)/.installed-tests
	@REQUESTS=$(REQUESTS) $(BIN)/python -m pytest --timeout 7200 tests/integration/test_http_fuzz.py $(ARGS)

bench: $(VENV)/.installed-tests
	@$(BIN)/python -m bench.fleet
	@$(BIN)/python -m bench.requests
	@$(BIN)/python -m bench.cached
	@$(BIN)/python -m bench.checkout
	@$(BIN)/python -m bench.decode
	@$(BIN)/python -m bench.router
	@$(BIN)/python -m bench.dashboard

clean:
	rm -rf $(VENV) .venv-lock .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is touched last, so that an interrupted step is done again.
$(VENV)/.created:
	@$(BIN)/python -m pip --version >/dev/null 2>&1 && exec touch $@; \
	for python in $(PYTHON); do \
		if $$python -c '$(SUITABLE)' >/dev/null 2>&1; then \
			echo "Creating $(VENV) with $$python"; \
			$$python -m venv $(VENV) && exec touch $@; \
			exit 1; \
		fi; \
	done; \
	echo 'No Python 3.11, 3.12 or 3.13 that can make virtual environments (tried: $(PYTHON)).' >&2; \
	echo 'Install one (Debian, Ubuntu: apt install python3 python3-venv) or name it: PYTHON=/path/to/python3' >&2; \
	exit 1

$(VENV)/.installed: $(VENV)/.created requirements.lock requirements-build.lock pyproject.toml
	@echo 'Installing the service (the first time takes a minute)'
	@$(PIP) $(LOCKED) -r requirements-build.lock
	@$(PIP) $(LOCKED) -r requirements.lock
	@$(PIP) --no-deps --no-index --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-tests: $(VENV)/.installed requirements-test.lock
	@echo 'Installing what the tests need'
	@$(PIP) $(LOCKED) -r requirements-test.lock
	@touch $@

# uv resolves for all supported versions at once and writes no index address.
COMPILE = .venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' $(ARGS)

lock: $(VENV)/.created
	@test -x .venv-lock/bin/uv || { $(BIN)/python -m venv .venv-lock && .venv-lock/bin/pip install --quiet uv; }
	@$(COMPILE) pyproject.toml -o requirements.lock
	@$(COMPILE) pyproject.toml --extra test -c requirements.lock -o requirements-test.lock
	@printf 'hatchling>=1.27\neditables\nsetuptools\n' | $(COMPILE) - -c requirements-test.lock -o requirements-build.lock
