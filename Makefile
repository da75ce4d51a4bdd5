# Everything runs in a virtual environment of its own, made on first use.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Of pyproject.toml; `make test` adds export and cluster where they can be had.
EXTRAS := report,train,third-party,test
READY := $(VENV)/.ready
# Whether a Python is one that the project runs on.
FITS := -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))'
# Side by side, as programs of one thread: two of several threads each would wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile
# SYSTEM=no: the tests' set-up installs no system packages.
export SYSTEM
# Programs that the set-up puts into the environment are found like those of the system.
export PATH := $(PATH):$(abspath $(BIN))

.PHONY: help demo test test-all test-gpu train bench mutants lint types format clean

help:  ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16

demo: $(READY)  ## super-resolve sample photographs with PFDNLite and bicubic, and compare
	$(BIN)/python test_demo.py --model_id -1 --dataset sample --ssim --save_dir results/demo --device cpu
	$(BIN)/python test_demo.py --model_id 3 --dataset sample --ssim --save_dir results/demo --device cpu

test: $(READY)  ## set up what the tests use, as root with Debian's packages (SYSTEM=no: without), and run all but the slow ones
	@tests/set_up.sh $(VENV)
	@$(PYTEST) -m "not slow" $(TESTS); status=$$?; cat $(VENV)/set-up/left-out; exit $$status

test-all: $(READY)  ## the same with LaTeX, and all tests
	@tests/set_up.sh $(VENV) latex
	@$(PYTEST) $(TESTS); status=$$?; cat $(VENV)/set-up/left-out; exit $$status

test-gpu: $(READY)  ## on a machine with a GPU: prove its clock, memory, engines and figures; CHECKOUT: beside the challenge's 2024
	$(BIN)/python -m bench.gpu_report $(if $(CHECKOUT),--checkout $(CHECKOUT))

train: $(READY)  ## train at the scale of a CPU core; DATA names a folder of HR images
	$(if $(DATA),,$(error make train DATA=FOLDER: name a folder of HR images))$(BIN)/python -m team_bsr train --run_dir runs/cpu --data $(DATA) --preset cpu --precision auto

bench: $(READY)  ## the template and this harness side by side; CHECKOUT names the challenge's repository of 2024, DATA the sets
	$(if $(and $(DATA),$(CHECKOUT)),,$(error make bench CHECKOUT=FOLDER DATA=FOLDER: name both))$(BIN)/python -m bench.versus_template --checkout $(CHECKOUT) --data_dir $(DATA)

mutants: $(READY)  ## plant faults into the modules that make figures, and list those that no test notices
	$(BIN)/python -m bench.mutants

lint: $(READY)  ## check style
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .

types: $(READY)  ## check types
	@$(BIN)/basedpyright --pythonpath $(BIN)/python >$(VENV)/types || { cat $(VENV)/types; exit 1; }

format: $(READY)  ## mend style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove the environment and what tools keep; results stay
	rm -rf $(VENV) .pytest_cache .ruff_cache

$(READY): pyproject.toml requirements.txt
	@$(PYTHON) $(FITS) 2>/dev/null || { echo "$(PYTHON) is $$($(PYTHON) --version 2>&1); needed is 3.11 to 3.13: PYTHON=python3.12 make $(MAKECMDGOALS)"; exit 1; }
	@echo "$(VENV) with this project, in the versions of requirements.txt (what pip says is in $(VENV)/log)"
	@$(PYTHON) -m venv $$($(BIN)/python $(FITS) 2>/dev/null || echo --clear) $(VENV)
	@$(BIN)/python -m pip install --editable ".[$(EXTRAS)]" --constraint requirements.txt >$(VENV)/log 2>&1 || { tail $(VENV)/log; exit 1; }
	@touch $@
