# make setup | fast | unit | test | demo | lock        (see CONTRIBUTING.md)
VENV    := .venv
PYTHON  ?= python3.11
LIST    := requirements/cpu.txt
BIN     := $(VENV)/bin
UV      := $(BIN)/uv
ARGS    ?=
ROOM    ?=
UPGRADE ?=
# torch's CPU build: from the wheels pip was told of, else from PyTorch's own CPU index.
WHEELS  := $(if $(PIP_FIND_LINKS),--find-links $(PIP_FIND_LINKS),--torch-backend cpu)
# More OpenMP threads than idle cores collapse the CPU engine (docs/operations.md).
export OMP_NUM_THREADS ?= 1
# A worker that dies fails the run at once: restarted, xdist's loadgroup waits for ever for its tests.
WORKERS := -n 2 --dist loadgroup --max-worker-restart 0
export TOKENIZERS_PARALLELISM := false
# Importing vLLM takes 12 s of compiling where bytecode is not kept, 4 s where it is.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup system lint types contracts fast unit engine test demo lock clean

setup: $(VENV)/.stamp

$(VENV)/.stamp: $(LIST) pyproject.toml client/pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(UV) || $(BIN)/python -m pip install -q $$(grep '^uv==' $(LIST))
	$(UV) pip sync -q --python $(VENV) --link-mode hardlink $(WHEELS) $(LIST)
	$(UV) pip install -q --python $(VENV) --no-deps --no-build-isolation -e ./client -e .
	touch $@

lock:
	$(UV) pip compile -q --no-header --no-annotate --python-version 3.11 $(WHEELS) \
	  --excludes requirements/cpu-excludes.txt --extra cpu --extra train --extra s3 --extra demo --extra examples --extra dev $(UPGRADE) \
	  -o $(LIST) pyproject.toml

# Debian packages that some tests drive: strace watches system calls.
system:
	@command -v strace >/dev/null || { \
	  sudo=$$([ $$(id -u) = 0 ] || echo sudo); \
	  $$sudo apt-get update -qq && $$sudo apt-get install -qqy --no-install-recommends strace; }

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

contracts: setup
	$(BIN)/lint-imports

# Tests that only compute: seconds. Whole files are marked `pytest.mark.pure`.
fast: setup
	$(BIN)/pytest -q --hypothesis-profile=fast $$(grep -rl "pytest.mark.pure" tests) $(ARGS)

# Tests without the engine; ROOM=adapters or ROOM=server/database narrows them to a folder.
unit: setup system
	$(BIN)/pytest $(WORKERS) -m "not engine" tests/$(ROOM) $(ARGS)

engine: setup system
	$(BIN)/pytest -m engine $(ARGS)

test: setup system lint types contracts
	$(BIN)/pytest $(WORKERS) $(ARGS)

demo: setup
	$(BIN)/pawl demo $(ARGS)

clean:
	rm -rf $(VENV) pawl-data .mypy_cache .ruff_cache .pytest_cache .hypothesis
