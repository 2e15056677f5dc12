# What a machine needs: Python 3.11 or newer with pip, and make. Everything else goes into .venv.

PYTHON ?= $(shell for p in python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# Threads for torch and numpy. The models of the tests are so small that more than four are slower.
THREADS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); [ $$n -gt 4 ] && n=4; echo $$n)
# auto, cpu-set or as-found: see scripts/make_env.py.
TORCH ?= auto
ARGS ?=

BIN := .venv/bin
STAMP := .venv/.made
VLLM_STAMP := .venv/.made-vllm
NANO = HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false OMP_NUM_THREADS=$(THREADS)
PYTEST = $(NANO) $(BIN)/pytest --durations=20

.DEFAULT_GOAL := help
.PHONY: help env demo bench test lint check FORCE

help:
	@echo "make env     make or refresh .venv (TORCH=cpu-set or TORCH=as-found to choose torch's build)"
	@echo "make demo    index a small corpus, search it and write a page, on the CPU"
	@echo "make bench   mini MMEB, and pages to answers, with nano on the CPU: a quarter of an hour"
	@echo "make test    the fast tests, offline (ARGS=... is handed to pytest)"
	@echo "make lint    ruff, mypy, import-linter"
	@echo "make check   lint, then the slow tests: builds, installations, fuzzing"

env: $(STAMP)

$(STAMP): constraints.txt pyproject.toml scripts/make_env.py scripts/torchvision_cpu_shim.py
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer on PATH: install it, or name it: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) scripts/make_env.py --torch $(TORCH)
	@touch $@

# The tests try every backend; nothing else needs this one.
$(VLLM_STAMP): $(STAMP) constraints-vllm.txt
	@$(PYTHON) scripts/make_env.py --vllm
	@touch $@

ifneq ($(TORCH),auto)
$(STAMP): FORCE
endif
FORCE:

demo: env
	$(BIN)/python -m ume_r1_bench.demo $(ARGS)

# nano is an instrument: what this shows is that all of it runs, and how long it takes.
bench: env
	$(BIN)/ume-r1 world mmeb runs/bench/mmeb --mini
	$(NANO) $(BIN)/ume-r1 bench mmeb --data runs/bench/mmeb --suite mini --model nano \
	  --out runs/bench/results --report runs/bench/mmeb.html
	$(BIN)/ume-r1 world visdoc runs/bench/papers
	$(NANO) $(BIN)/ume-r1 bench visdoc --own runs/bench/papers --model nano --endpoint world \
	  --work runs/bench/visdoc --out runs/bench/visdoc.json --html runs/bench/visdoc.html $(ARGS)

test: $(VLLM_STAMP)
	$(PYTEST) $(ARGS)

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy scripts
	$(BIN)/lint-imports

check: lint $(VLLM_STAMP)
	$(PYTEST) -m slow $(ARGS)
