# parlab: `make` prints the targets. Every target sets up the environment by itself, once.

PYTHON ?= python3
MPI    ?= openmpi
VENV   := $(if $(filter openmpi,$(MPI)),.venv,.venv-$(MPI))
BIN    := $(VENV)/bin
PARLAB := $(BIN)/python -m parlab
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help setup labs test test-gpu mpi openmp_like cuda ddp pyomp report machine lint clean

help:         ## print this list
	@awk -F ':.*## ' '/^[a-z_-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@echo '  ARGS="--workers 1,2 --budget full" are handed to parlab run; MPI=mpich uses MPICH from PyPI, MPI=none the one on PATH'

setup:        ## make or mend the environment (every target does)
	@$(PYTHON) -I labs/parlab/bootstrap.py $(VENV) $(MPI)

labs: setup   ## run every lab that this machine can run, about 20 s each, and show the scaling tables
	@$(PARLAB) run all $(ARGS)

test: setup   ## run the tests
	@$(BIN)/python -m pytest -q $(ARGS)

test-gpu: setup  ## run the tests that need a GPU (skipped where there is none)
	@$(BIN)/python -m pytest -q -m gpu $(ARGS)

mpi: setup    ## message passing: point to point, collectives, halo exchange, task farm
	@$(PARLAB) run mpi $(ARGS)

openmp_like: setup  ## shared memory: Numba prange in the manner of OpenMP
	@$(PARLAB) run openmp_like $(ARGS)

cuda: setup   ## CUDA streams, copies and overlap
	@$(PARLAB) run cuda $(ARGS)

ddp: setup    ## data- against model-parallel training
	@$(PARLAB) run ddp $(ARGS)

pyomp:        ## PyOMP in an environment of its own, for the table of clauses in openmp_clauses (it cannot share Numba's)
	@$(PYTHON) -m venv .venv-pyomp
	@.venv-pyomp/bin/python -m pip --disable-pip-version-check install --quiet pyomp==0.6.0

report: setup ## show the latest recorded run again and draw its pictures
	@$(PARLAB) report $(ARGS)

machine: setup  ## the facts of this machine and how noisy it is
	@$(PARLAB) machine $(ARGS)

lint: setup   ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

clean:        ## remove the environments and caches; results/ stays
	rm -rf .venv .venv-mpich .venv-none .venv-pyomp .venv*.lock .mypy_cache .ruff_cache .pytest_cache .hypothesis labs/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
