# Everything that is done to this project, one command per act. GNU make 3.81 (macOS) or later; nothing but Python is assumed.

VENV := .venv
BIN := $(VENV)/bin
DEMO := .demo/home
PORT ?= 0
SLICE ?=
ARGS ?=
SECONDS ?= 3600

.DEFAULT_GOAL := help
.PHONY: help demo serve test test-long test-timing coverage mutation walls fuzz bench bench-accuracy bench-exact bench-audit bench-blocks bench-peers bench-saturation bench-signing load soak lint format clean

help: ## print this list
	@echo "make demo           a gateway with real data: questions asked, answered, one refused, the log verified"
	@echo "make serve          leave the demo's gateway running; prints its address and tokens (PORT=8080: on this port)"
	@echo "make test           the whole test suite, with ruff, mypy and the import rules (some 15 minutes on 2 cores)"
	@echo "make test-long      bigger numbers of the same tests, in slices that can be resumed (SLICE=n: one of them)"
	@echo "make test-timing    whether the clock tells neighbouring data apart (20 minutes on a quiet machine)"
	@echo "make coverage       whether the tests of ledger, log and accounting take every branch (ARGS=log: of one of them)"
	@echo "make mutation       whether those tests notice a wrong line; goes on where it stopped (ARGS='--sample 200 --seed 1')"
	@echo "make walls          attack a worker from inside: what each layer of isolation stops alone; then what all of them cost"
	@echo "make fuzz           20,000 requests drawn from the API's own document (ARGS='500 3': so many, with this seed)"
	@echo "make bench          measure: a query through the gateway against the same query in bare DuckDB (ARGS=--quick)"
	@echo "make bench-accuracy measure: how far answers are from the truth, with good, loose and no bounds"
	@echo "make bench-exact    measure: exact answers on real data: how much is withheld, and how long they take"
	@echo "make bench-audit    measure: a log of 1,000,000 records verified offline, and 10,000 mutated exports caught"
	@echo "make bench-blocks   measure: what a question costs with budgets per block, by processor time, and what without"
	@echo "make bench-peers    measure: the same questions put to other libraries, each in an environment of its own"
	@echo "make bench-saturation  measure: questions a second when everybody asks at once, of one operator and of several"
	@echo "make bench-signing  measure: what a signature of the log costs, by its own key and by a command outside"
	@echo "make load           20 new questions and 200 stored answers a second, with the time of a charge (ARGS=--seconds=60)"
	@echo "make soak           an hour of mixed work; fails where memory, descriptors or files pile up (SECONDS=600: ten minutes)"
	@echo "make lint           ruff, mypy and the import rules alone"
	@echo "make format         let ruff lay the code out"
	@echo "make clean          remove what make has made: .venv, .demo, caches"

demo: $(VENV)/.ready
	@$(fresh_demo)
	@$(BIN)/bpk demo --home $(DEMO)

serve: $(VENV)/.ready
	@$(fresh_demo)
	@exec $(BIN)/bpk demo --keep --home $(DEMO) --port $(PORT)

test: lint
	@echo "pytest"
	@$(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist worksteal

test-long: $(VENV)/.ready-test
	@$(BIN)/python -m tests.long $(SLICE)

test-timing: $(VENV)/.ready-test
	@$(BIN)/python -m tests.timing $(ARGS)

coverage: $(VENV)/.ready-test
	@$(BIN)/python -m tests.covered $(ARGS)

mutation: $(VENV)/.ready-mutation
	@$(BIN)/python -m tests.mutated $(ARGS)

walls: $(VENV)/.ready-test
	@$(BIN)/python -m tests.isolation $(ARGS)
	@echo
	@$(BIN)/python -m bench.walls

fuzz: $(VENV)/.ready-fuzz
	@$(BIN)/python -m tests.fuzz $(ARGS)

bench: $(VENV)/.ready-bench
	@$(BIN)/python -m bench $(ARGS)

bench-accuracy: $(VENV)/.ready-bench
	@$(BIN)/python -m bench.accuracy $(ARGS)

bench-exact: $(VENV)/.ready-bench
	@$(BIN)/python -m bench.exact.guard
	@$(BIN)/python -m bench.exact $(ARGS)

bench-saturation: $(VENV)/.ready-bench
	@$(BIN)/python -m bench.saturation $(ARGS)

bench-blocks: $(VENV)/.ready-bench
	@$(BIN)/python -m bench.blocks $(ARGS)

bench-signing: $(VENV)/.ready-test
	@$(BIN)/python -m bench.signing $(ARGS)

load: $(VENV)/.ready-bench
	@$(BIN)/python -m bench.rates $(ARGS)

soak: $(VENV)/.ready-bench
	@$(BIN)/python -m bench.soak --seconds $(SECONDS)

bench-audit: $(VENV)/.ready-test
	@$(BIN)/python -m bench.audit $(ARGS)
	@BPK_MUTATIONS=10000 $(BIN)/python -m pytest -q -o timeout=3600 tests/attack/test_mutated_exports.py

bench-peers: $(VENV)/.ready-bench
	@$(BIN)/python -m bench.peers $(ARGS)

lint: $(VENV)/.ready-test
	@echo "ruff check"
	@$(BIN)/ruff check -q .
	@echo "ruff format --check"
	@$(BIN)/ruff format -q --check .
	@echo "mypy"
	@$(BIN)/mypy --no-error-summary
	@echo "lint-imports"
	@said=$$($(BIN)/lint-imports) || { echo "$$said"; exit 1; }

format: $(VENV)/.ready-test
	@$(BIN)/ruff check -q --fix .
	@$(BIN)/ruff format .

clean:
	@rm -rf $(VENV) .demo .bench .coverage* .mutation .test-long build dist *.egg-info
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find gateway policies sandbox tests bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# One virtual environment; a stamp per set of packages, so that a second run starts at once.

$(VENV)/.ready: pyproject.toml
	@$(make_venv)
	@echo "installing (this is done once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.ready-test: $(VENV)/.ready
	@echo "installing what the tests need (this is done once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

$(VENV)/.ready-fuzz: $(VENV)/.ready-test
	@echo "installing what the fuzzer needs (this is done once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	@touch $@

$(VENV)/.ready-mutation: $(VENV)/.ready-test
	@echo "installing what makes the mutants (this is done once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[mutation]'
	@touch $@

$(VENV)/.ready-bench: $(VENV)/.ready
	@echo "installing what the benchmark needs (this is done once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

# The newest Python that is here and can make a virtual environment. PYTHON=... names another one.
make_venv = \
	test -x $(BIN)/pip && exit 0; \
	seen=""; \
	for python in $(PYTHON) python3.14 python3.13 python3.12 python3.11 python3; do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	  seen="$$python"; \
	  "$$python" -c 'import ensurepip, venv' 2>/dev/null || continue; \
	  echo "making a virtual environment with $$python"; \
	  "$$python" -m venv --clear $(VENV) && exit 0; \
	done; \
	if [ -n "$$seen" ]; then \
	  echo "make: $$seen cannot make virtual environments; on Debian or Ubuntu: apt install python3-venv" >&2; \
	else \
	  echo "make: Python 3.11 or later is needed; on Debian or Ubuntu: apt install python3-venv, on macOS: python.org or brew install python" >&2; \
	fi; \
	exit 1

# The demo's home is kept between runs, and made anew when the examples that it is made of are newer.
fresh_demo = \
	if [ -f $(DEMO)/demo.json ] && \
	   [ -n "$$(find policies/examples -type f ! -name '*.pyc' -newer $(DEMO)/demo.json)" ]; then \
	  rm -rf $(DEMO); \
	fi
