# Each target does all of its own set-up: a fresh clone needs Python 3.11 or newer and make.
#
#   make demo    the trial run: server, walker, offers and reasons in the terminal
#   make test    every test
#   make lint    style, types and import contracts
#   make bench   how fast it is, against what anyone would use instead: ten minutes (ARGS=--quick: one)
#   make quality  how right it is, against the peers' rules and the ceiling: docs/quality.md, docs/ranging.md (eight minutes)
#   make setup   the development environment alone
#   make clean   removes what these targets made

# The first of these that is new enough; `make demo PYTHON=/path/to/python` overrules it.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt
# Two workers suit two cores; tests are independent of order and of each other.
WORKERS ?= 2
ARGS ?=

.PHONY: demo test lint bench quality setup clean
.DELETE_ON_ERROR:

demo: $(VENV)/.engine
	@$(BIN)/proximity demo $(ARGS)

test: $(VENV)/.dev $(VENV)/.servers $(VENV)/.npm
	$(BIN)/python -m pytest -q -n $(WORKERS) $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev
	@$(BIN)/python -m benchmarks $(ARGS)

quality: $(VENV)/.dev
	@$(BIN)/python -m simulator.quality --out docs/quality.md $(ARGS)
	@$(BIN)/python -m simulator.ranging --out docs/ranging.md $(filter --quick,$(ARGS))

setup: $(VENV)/.dev

clean:
	rm -rf $(VENV) tests/npm/node_modules build dist .build .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

# A dangling link (its Python was removed) counts as missing, and the environment is made anew.
$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then echo "proximity-engine needs Python 3.11 or newer: install it, or name one: make PYTHON=/path/to/python" >&2; exit 2; fi
	@if ! "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then echo "$(PYTHON) is not Python 3.11 or newer: name one that is: make PYTHON=/path/to/python" >&2; exit 2; fi
	@if ! "$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null; then echo "$(PYTHON) cannot make virtual environments: install its venv package (Debian, Ubuntu: python3-venv)" >&2; exit 2; fi
	@echo "making $(VENV) with $$("$(PYTHON)" --version)"
	@"$(PYTHON)" -m venv --clear $(VENV)

# The stamps: a second run installs nothing until the requirements or the pins change. pip comes
# first, pinned like the rest, because the one that a Python ships may know no dependency groups.
$(VENV)/.engine: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing the engine into $(VENV)"
	@$(INSTALL) --upgrade pip
	@$(INSTALL) --build-constraint constraints.txt --editable '.[engine]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing the engine and the development tools into $(VENV)"
	@$(INSTALL) --upgrade pip
	@$(INSTALL) --build-constraint constraints.txt --editable '.[engine,gateway,eid,mqtt,gis,parquet,postgres,push,email]' --group dev
	@touch $(VENV)/.engine $@

# The broker, message bus and browser that tests start, where the machine has none. No stamp where
# they cannot be had: those tests say so, and the next run tries again.
$(VENV)/.servers: tests/servers/fetch.sh | $(BIN)/python
	@if sh tests/servers/fetch.sh $(VENV)/servers; then touch $@; \
	else echo "tests that need a broker, a message bus or a browser are skipped: apt could not fetch them" >&2; fi

# Other people's clients and servers, in JavaScript, that tests ask. As with the servers: no stamp
# where they cannot be had.
$(VENV)/.npm: tests/npm/package.json tests/npm/package-lock.json | $(BIN)/python
	@if command -v npm >/dev/null && npm ci --silent --prefix tests/npm; then touch $@; \
	else echo "tests that ask programs in JavaScript are skipped: npm could not install them" >&2; fi
