# Every target sets up what it needs in .venv; only Python (3.11 or newer), pip and make must be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# PyTorch serves tests and benchmarks only. This version has a CPU build; another may bring gigabytes of CUDA.
TORCH := torch==2.13.0

.PHONY: demo test lint format bench peers crosscheck docs clean

demo: $(VENV)/.study
	$(BIN)/consilience run demo --out runs/demo

test: $(VENV)/.dev
	$(BIN)/pytest -n auto --dist worksteal

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.peers
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/measures.py
	$(BIN)/python benchmarks/measures.py --memory
	$(BIN)/python benchmarks/theory.py
	OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/predict.py
	$(BIN)/python benchmarks/claims.py

# Other implementations, beside the environment so that they change nothing in it.
peers: $(VENV)/.peers

crosscheck: $(VENV)/.peers
	$(BIN)/pytest crosscheck -n auto -p no:doctest

docs: $(VENV)/.dev
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) site dist .pytest_cache .ruff_cache .import_linter_cache

$(VENV)/.base:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.peers: benchmarks/peers.txt $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(VENV)/peers --requirement $<
	touch $@

# The stamps depend on pyproject.toml: a changed dependency is installed, otherwise nothing happens.
$(VENV)/.study: pyproject.toml | $(VENV)/.base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[study,report]'
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/.base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[study,report,topology,dev]'
	touch $@ $(VENV)/.study
