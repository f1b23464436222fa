# Everything a newcomer needs: `make demo` and `make test`. Each makes its own environment in $(VENV), on a machine that
# has Python 3.11 or newer (with its venv module) and nothing else.

VENV   ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
BIN     = $(VENV)/bin
# An environment is good as long as these two files say the same.
HASH   := $(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
# Bytecode is compiled at the first import, of what is imported, instead of at installation, of everything.
PIP     = $(BIN)/python -m pip --disable-pip-version-check --no-input install -qq --no-compile -c constraints.txt
PYTEST  = $(BIN)/python -m pytest

RUN_STAMP  = $(VENV)/.made-run-$(HASH)
TEST_STAMP = $(VENV)/.made-test-$(HASH)
LINT_STAMP = $(VENV)/.made-lint-$(HASH)

.PHONY: help env demo test bench faults long lint clean

help:
	@echo "make demo    simulated camera, tracked live, to a closing table and a plot (2 minutes, set-up included)"
	@echo "make test    lint, then the tests make faults  kill -9 at random moments, minutes"
	@echo "make lint    style, types, layers make long    endurance, hours"
	@echo "make bench   benchmarks           make env     the environment alone, with everything in it"

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "No Python found: install Python 3.11 or newer, or say make PYTHON=/path/to/python3.11" >&2; exit 3; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is too old: Python 3.11 or newer is needed (make PYTHON=/path/to/python3.11)" >&2; exit 3; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "Python's venv module is missing (Debian and Ubuntu: apt install python3-venv)" >&2; exit 3; }

$(RUN_STAMP): | $(BIN)/python
	@echo "Installing into $(VENV) (half a minute) ..." >&2
	@$(PIP) -e . && touch $@

$(TEST_STAMP): | $(BIN)/python
	@echo "Installing into $(VENV), with what the tests need (a minute) ..." >&2
	@$(PIP) -e '.[test]' && touch $@ $(RUN_STAMP)

$(LINT_STAMP): | $(BIN)/python
	@echo "Installing into $(VENV), with what the tests and the linters need (a minute) ..." >&2
	@$(PIP) -e '.[test,lint]' && touch $@ $(TEST_STAMP) $(RUN_STAMP)

env: $(LINT_STAMP)

demo: $(RUN_STAMP)
	@$(BIN)/ringtrack demo

# Style, types and layers first: they take seconds, and fail what the tests would pass.
test: lint
	@scripts/debian-tools.sh
	$(PYTEST) -n 2 --dist loadscope --no-loadscope-reorder $(ARGS)

faults: $(TEST_STAMP)
	$(PYTEST) -m faults --timeout 1800 $(ARGS)

long: $(TEST_STAMP)
	@scripts/reader-tools.sh
	$(PYTEST) -m long --timeout 14400 $(ARGS)

bench: $(TEST_STAMP)
	$(BIN)/python -m perf $(ARGS)

lint: $(LINT_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
