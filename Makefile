PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SIMULATED := $(VENV)/simulated.log
LINTED := $(VENV)/lint.log
# Where tests of these kinds are, so that not all others are read for them.
SLOW := tests/sim tests/fuzz tests/overlay tests/cli/test_moon.py tests/unit/crypto/test_identity_work.py
LIVE := tests/interop tests/netns tests/e2e tests/conformance

# The tests start some hundred programs: none of them is to compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

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

# What is simulated knows no time, and fills the gaps that the others leave: lint needs one core only,
# and live tests mostly wait.
test: $(STAMP)
	nice -n 19 $(BIN)/pytest -n auto --patience 10 --durations 15 -m "sim or slow" $(SLOW) > $(SIMULATED) 2>&1 & simulated=$$!; \
	trap 'kill $$simulated' EXIT; \
	$(MAKE) lint > $(LINTED) 2>&1 & linted=$$!; \
	$(BIN)/pytest -n auto --durations 15; tested=$$?; \
	wait $$linted; linted=$$?; cat $(LINTED); \
	test $$linted -eq 0 -a $$tested -eq 0 || exit 1; \
	ZT_REQUIRE_PEERS=1 $(BIN)/pytest -n 2 --dist loadfile --durations 15 -m "interop or netns or e2e" $(LIVE); live=$$?; \
	trap - EXIT; \
	wait $$simulated; simulated=$$?; cat $(SIMULATED); \
	test $$live -eq 0 -a $$simulated -eq 0

bench: $(STAMP)
	$(BIN)/python -m tests.bench --output bench.json

demo: $(STAMP)
	docs/demo.sh

clean:
	rm -rf $(VENV) .demo
