# Everything runs in a virtual environment of its own, made on first use.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RAY_READY := $(VENV)/.ready-ray

.PHONY: demo test test-all test-browser train bench lint format clean

demo: $(READY)  ## super-resolve sample photographs with PFDNLite and bicubic, and compare
	$(BIN)/python test_demo.py --model_id -1 --dataset sample --ssim --save_dir results/demo --device cpu
	$(BIN)/python test_demo.py --model_id 3 --dataset sample --ssim --save_dir results/demo --device cpu

test: $(READY) $(RAY_READY)  ## all tests but the slow ones
	$(BIN)/python -m pytest -m "not slow"

test-all: $(READY) $(RAY_READY)  ## all tests
	$(BIN)/python -m pytest

test-browser: $(READY)  ## the report's page in chromium; installs chromium (as root) and axe-core (with npm) where absent
	command -v chromedriver >/dev/null || apt-get install --yes chromium chromium-driver
	$(BIN)/python -m pip install --quiet --requirement requirements-browser.txt
	if command -v npm >/dev/null; then npm install --silent --prefix $(VENV)/browser axe-core@4.14.1; fi
	$(BIN)/python -m pytest tests/test_browser.py

train: $(READY)  ## train at the scale of a CPU core; DATA names a folder of HR images
	$(BIN)/python -m team_bsr train --run_dir runs/cpu --data $(DATA) --preset cpu --precision bf16

bench: $(READY)  ## the template and this harness side by side; CHECKOUT names the challenge's repository of 2024, DATA the sets
	$(BIN)/python -m pip install --quiet --requirement requirements-engines.txt
	$(BIN)/python -m bench.versus_template --checkout $(CHECKOUT) --data_dir $(DATA)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) results .pytest_cache .ruff_cache

$(READY): requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	touch $@

$(RAY_READY): requirements-ray.txt $(READY)
	$(BIN)/python -m pip install --quiet --requirement requirements-ray.txt
	touch $@
