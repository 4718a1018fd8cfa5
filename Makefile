# make demo    the whole story on the screen; KEEP=1 leaves it running, VAULT=software does without tokens
# make test    every test but benches and nightly parts
# make check   what must hold before a commit: style, types, floors, pure tests
# make bench   measurements;  make nightly  long runs, resumable;  make clean
# make claims  docs/claims.md: each claim's tests, run;  make docs  pages, pictures, manual pages, completion
# make setup   what the others need, done by each of them;  make lock  new pins
#
# PYTHON=... chooses the interpreter for the virtual environment (3.11 to 3.13); PROCESSES= runs `make test` in one process.

PYTHON ?= python3
UV ?= uv
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LOCKS := lock/build.txt lock/dev.txt
PYTEST := $(BIN)/python -m pytest $(PYTEST_ARGS)
# A file is run by one process, in the order of the files: what a file sets up for all its tests is set up once.
# Three on two cores: many tests wait, for a daemon or for a card that takes its time.
PROCESSES ?= 3
AT_ONCE := $(if $(PROCESSES),-n $(PROCESSES) --dist loadfile --no-loadscope-reorder)

# The tests start some thousand processes of ours: each would compile everything anew.
export PYTHONDONTWRITEBYTECODE :=
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := test
.DELETE_ON_ERROR:
.PHONY: style pure setup system demo test check bench nightly docs claims clean lock

setup: system $(READY)

system:
	@PYTHON="$(PYTHON)" .ci/system-packages

# An environment that is there is brought up to date in place; one whose Python is gone is made anew.
$(READY): $(LOCKS) pyproject.toml | system
	@.ci/environment "$(PYTHON)" $(VENV)
	@touch $@

demo: setup
	@$(BIN)/python -m kioskd demo $(if $(KEEP),--keep) $(if $(VAULT),--vault $(VAULT))

test: setup
	@$(PYTEST) $(AT_ONCE)

check: setup
	@$(MAKE) -j2 --output-sync=target style pure

style: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

pure: setup
	@$(PYTEST) -q -n 2 -m "not pcscd and not slow"

bench: setup
	@.ci/parts bench $(BIN)/python

nightly: setup
	@.ci/parts nightly $(BIN)/python

docs: setup
	@$(BIN)/python -c "from kioskd.outcomes import page; print(page(), end='')" >docs/outcomes.md
	@$(BIN)/python -c "from tests.cards.page import page; print(page(), end='')" >docs/cards.md
	@$(BIN)/python -c "from tests.mutants.page import page; print(page(), end='')" >docs/mutants.md
	@$(BIN)/python -m tests.station.pictures
	@$(BIN)/python -m tests.faults.pictures
	@$(BIN)/python -m tests.kiosk.pictures
	@$(BIN)/python -m tests.kiosk.pages

# Universal: one lock for every supported Python. No line of it names a host.
COMPILE := env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL $(UV) pip compile --quiet --no-config --universal \
	--python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate \
	--custom-compile-command "make lock" $(if $(UPGRADE),--upgrade)
lock:
	@$(COMPILE) lock/build.in -o lock/build.txt
	@$(COMPILE) pyproject.toml -o lock/runtime.txt
	@$(COMPILE) pyproject.toml --extra dev -c lock/runtime.txt -o lock/dev.txt

claims: setup
	@$(PYTEST) -q --claims=docs/claims.md tests

clean:
	rm -rf $(VENV) .nightly .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
