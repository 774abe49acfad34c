# make help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
ARGS ?= experiment=sample
PORT ?= 6006

.DEFAULT_GOAL := help
.PHONY: help train test test-slow test-nodes test-lowest check bench bench-gpu dashboard sample lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo '  ARGS="model=vgg16 data=kermany" goes on to train.py; PYTHON=python3.12 chooses the interpreter'

train: .venv/ready sample ## install, draw the sample where no data is, train, test: make train ARGS="model=vgg16"
	@$(BIN)/python train.py $(ARGS)

# One thread a process: as many processes as cores would wait for each other's threads, and take 1.7 times as long.
test: .venv/ready ## install, then the whole suite
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

test-slow: .venv/ready ## the proofs that take minutes
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow

test-nodes: .venv/ready ## one run over two hosts made of network namespaces, as root: sudo make test-nodes
	@tests/cluster/two_hosts.sh

test-lowest: ## the suite on the oldest versions that pyproject.toml allows
	@$(PYTHON) -m venv .venv-lowest
	@.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check uv
	@VIRTUAL_ENV=.venv-lowest .venv-lowest/bin/uv pip install --quiet --resolution lowest-direct --editable '.[dev]'
	@OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest -n auto

check: .venv/ready ## ruff, mypy strict, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: .venv-bench/ready sample ## speed beside what people use, into outputs/bench: make bench BENCH="cold --rsna /data/rsna"
	@.venv-bench/bin/python -m benchmarks $(BENCH)

bench-gpu: .venv-bench/ready sample ## what of it a GPU changes
	@.venv-bench/bin/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available() and "no GPU that torch can see")'
	@.venv-bench/bin/python -m benchmarks training detection prediction against $(BENCH)

.venv-bench/ready: requirements.lock pyproject.toml
	@$(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

dashboard: .venv/ready ## TensorBoard on outputs/
	@$(BIN)/tensorboard --logdir outputs --port $(PORT)

sample: .venv/ready ## draw phantom radiographs into data/, where there is nothing yet
	@$(BIN)/pulmo sample data

lock: ## pin what is installed now, without addresses
	@$(BIN)/pip freeze --exclude-editable --exclude pip --exclude setuptools | \
	  sed -E 's/ @ .*//; s/^((nvidia|cuda|triton).*)/\1; sys_platform == "linux"/' > requirements.lock

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "Python lacks venv: sudo apt-get install python3-venv"; exit 1; }
	@echo "installing into .venv (once, about two minutes)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

clean: ## remove .venv and caches; data/ and outputs/ stay
	rm -rf .venv .venv-lowest .venv-bench .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
