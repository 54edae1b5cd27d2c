# Sealmark. Everything a target needs is set up by the target itself; see tools/setup.sh.
.DEFAULT_GOAL := help
.PHONY: help setup demo test serve bench bench-log bench-verifier profile figures fuzz hostile lint types lock clean kill-postgresql

# More arguments for the tool that a target runs: make test ARGS="-k jwt", make bench ARGS="--short".
ARGS =

# Where the machine forbids Python to keep what it compiled, every one of the thousands of processes that tests, demo and
# benchmark start would compile the service anew. `make clean` removes what is kept.
unexport PYTHONDONTWRITEBYTECODE

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | while IFS='	' read -r target text; do printf '  make %-14s %s\n' "$$target" "$$text"; done

setup: ## Debian packages and .venv, which every other target does by itself
	@tools/setup.sh

demo: ## the whole mission on real input: sign, publish, verify with stock tools, tamper
	@tools/setup.sh verifier
	@.venv/bin/python -m tools.demo $(ARGS)

# The database that the tests run on: sqlite, or postgresql (a server of their own, started and ended by them).
DATABASE = sqlite

test: ## all tests (DATABASE=postgresql: on a PostgreSQL server that they start)
	@tools/setup.sh verifier saml node tlog opensaml aws bench faults postgresql nginx
	@DATABASE=$(DATABASE) .venv/bin/python -m pytest $(ARGS)

kill-postgresql: ## PostgreSQL killed -9 thirty times under load, and the log held against what clients were given
	@tools/setup.sh postgresql
	@.venv/bin/python -m tests.faults.postgresql_kills $(ARGS)

serve: ## the service left running on http://127.0.0.1:8200, its state in ./.sealmark
	@tools/setup.sh
	@tools/serve.sh

bench: ## the benchmark, beside a bare HSM loop and OpenBao on the same cores (ARGS="--parts loads", ARGS=--short)
	@tools/setup.sh bench
	@.venv/bin/python -m tools.bench $(ARGS)

bench-log: ## 1,000 attacks on a log of 100,000 entries, each found and named (ARGS="--leaves 10000 --processes 2")
	@tools/setup.sh
	@.venv/bin/python -m tests.bench.log_tampering $(ARGS)

bench-verifier: ## the verifier beside openssl dgst: speed, memory, start-up time, size
	@tools/setup.sh
	@.venv/bin/python -m tools.bench.verifier $(ARGS)

hostile: ## 20,000 calls that nobody sane makes, and secrets looked for everywhere (ARGS="--calls 5000")
	@tools/setup.sh hostile
	@.venv/bin/python -m tests.hostile.calls $(ARGS)

profile: ## where the service's time goes under load (ARGS="--load 'JWT' --seconds 20")
	@tools/setup.sh bench
	@.venv/bin/python -m tools.bench.profile $(ARGS)

figures: ## docs/figures.md of docs/figures/*.json (ARGS=--take: first of what was measured here)
	@tools/setup.sh
	@.venv/bin/python -m tools.figures $(ARGS)

fuzz: ## fuzz every parser with atheris, 10 minutes each (ARGS="--target saml --seconds 60", ARGS=--service)
	@tools/setup.sh fuzz
	@.venv-fuzz/bin/python -m tests.fuzz $(ARGS)

lint: ## ruff: rules and format
	@tools/setup.sh
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .

types: ## mypy --strict
	@tools/setup.sh
	@.venv/bin/mypy

lock: ## compile requirements/*.txt anew (needs uv)
	@tools/lock.sh

clean: ## remove environments and caches; ./.sealmark stays
	rm -rf .venv .venv-* tests/interop/npm/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info verifier/build verifier/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
