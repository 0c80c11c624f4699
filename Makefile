# Everything starts from a machine that has only Python 3.11, git and make.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin

# pytest keeps the rewritten tests: without that each of its processes compiles them all.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo demo-serve test check bench bench-postgres bench-scaling bench-churn bench-anatomy bench-peers kills chaos coverage format clean

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(BIN)/pip install --quiet --disable-pip-version-check --group dev --editable .
	@touch $@

demo: $(VENV)/.ready          ## the main job, told line by line; ends by itself
	$(BIN)/python examples/demo/demo.py

demo-serve: $(VENV)/.ready    ## the demo application, left running for a browser
	$(BIN)/python examples/demo/demo.py --serve

test: $(VENV)/.ready          ## the default suite
	$(BIN)/pytest -n 4 --dist worksteal -m "not slow"

kills: $(VENV)/.ready         ## the long suite: thousands of kills, soak
	$(BIN)/pytest -m slow

chaos: $(VENV)/.ready         ## four machines on PostgreSQL under faults of every kind
	$(BIN)/pytest -s -m slow tests/process/test_chaos.py

check: $(VENV)/.ready         ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright

bench: $(VENV)/.ready         ## what it costs, measured
	$(BIN)/python benchmarks/bench.py

bench-postgres: $(VENV)/.ready ## the same on PostgreSQL
	$(BIN)/python benchmarks/bench_postgres.py

bench-scaling: $(VENV)/.ready ## many nodes on one PostgreSQL server
	$(BIN)/python benchmarks/scaling.py

bench-churn: $(VENV)/.ready   ## millions of jobs through one PostgreSQL table
	$(BIN)/python benchmarks/churn.py $(JOBS)

bench-anatomy: $(VENV)/.ready ## what the time of one job is spent on
	$(BIN)/python benchmarks/anatomy.py

bench-peers:                  ## beside other libraries, each in an environment of its own
	$(PYTHON) benchmarks/compare.py $(PEERS)

coverage: $(VENV)/.ready
	$(BIN)/coverage run -m pytest -m "not slow"
	$(BIN)/coverage combine
	$(BIN)/coverage report

format: $(VENV)/.ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
