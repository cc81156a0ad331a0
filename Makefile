PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SIMULATED := $(VENV)/simulated.log

.PHONY: demo test lint bench setup clean

setup: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "zt needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	touch $@

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/pytest -n auto --durations 15
	# Live tests mostly wait; what is simulated knows no time and fills the gaps.
	nice -n 19 $(BIN)/pytest -n auto --patience 10 --durations 15 -m "sim or slow" > $(SIMULATED) 2>&1 & simulated=$$!; \
	ZT_REQUIRE_PEERS=1 $(BIN)/pytest -n 2 --dist loadfile --durations 15 -m "interop or netns or e2e"; live=$$?; \
	wait $$simulated; simulated=$$?; cat $(SIMULATED); \
	test $$live -eq 0 -a $$simulated -eq 0

bench: $(STAMP)
	$(BIN)/python -m tests.bench --output bench.json

demo: $(STAMP)
	docs/demo.sh

clean:
	rm -rf $(VENV) .demo
