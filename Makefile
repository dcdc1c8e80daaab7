# parlab: `make` prints the targets. Every target sets up the environment by itself, once.

PYTHON ?= python3
MPI    ?= openmpi
VENV   := $(if $(filter openmpi,$(MPI)),.venv,.venv-$(MPI))
BIN    := $(VENV)/bin
PARLAB := $(BIN)/python -m parlab
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help setup torch labs test test-gpu test-mpi mpi openmp_like cuda ddp contrast pyomp report quotes machine lint clean

help:         ## print this list
	@awk -F ':.*## ' '/^[a-z_-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@echo '  ARGS="--workers 1,2 --budget full" are handed to parlab run; MPI=mpich uses MPICH from PyPI, MPI=none the one on PATH'

setup:        ## make or mend the environment (every target does)
	@$(PYTHON) -I labs/parlab/bootstrap.py $(VENV) $(MPI)

torch: setup  ## PyTorch from its own index, without CUDA where there is no GPU: set-up leaves it out where PyPI's would bring CUDA
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --torch-backend auto --no-deps --constraint constraints.txt torch
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt --editable '.[ddp]'

labs: setup   ## run every lab that this machine can run and make the page: within 6 minutes, or ARGS="--minutes 20", or a --budget
	@$(PARLAB) run all $(if $(findstring --budget,$(ARGS)),,--minutes 6) $(ARGS)

test: setup   ## run the tests, two at a time
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal $(ARGS)

test-gpu: setup  ## run the tests that need a GPU (skipped where there is none)
	@$(BIN)/python -m pytest -q -m gpu $(ARGS)

test-mpi: setup  ## run the tests that depend on which MPI is there
	@$(BIN)/python -m pytest -q -k '(mpi or faults or launch) and not openmp' $(ARGS)

mpi: setup    ## message passing: point to point, collectives, halo exchange, task farm
	@$(PARLAB) run mpi $(ARGS)

openmp_like: setup  ## shared memory: Numba prange in the manner of OpenMP
	@$(PARLAB) run openmp_like $(ARGS)

cuda: setup   ## CUDA streams, copies and overlap
	@$(PARLAB) run cuda $(ARGS)

ddp: setup    ## data- against model-parallel training
	@$(PARLAB) run ddp $(ARGS)

contrast: setup  ## one problem by the means of all topics: when MPI, when threads, when a GPU
	@$(PARLAB) run contrast $(ARGS)

pyomp:        ## PyOMP in an environment of its own, for the table of clauses in openmp_clauses (it cannot share Numba's)
	@$(PYTHON) -m venv .venv-pyomp
	@.venv-pyomp/bin/python -m pip --disable-pip-version-check install --quiet pyomp==0.6.0

report: setup ## make the page of the latest recorded run; ARGS="DIR DIR" sets several side by side
	@$(PARLAB) report $(ARGS)

quotes: setup ## hold every figure in the documents against its record
	@$(BIN)/python -m parlab.quotes $(ARGS)

machine: setup  ## the facts of this machine and how noisy it is
	@$(PARLAB) machine $(ARGS)

lint: setup   ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

clean:        ## remove the environments and caches; results/ stays
	rm -rf .venv .venv-mpich .venv-none .venv-pyomp .venv*.lock .mypy_cache .ruff_cache .pytest_cache .hypothesis labs/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
