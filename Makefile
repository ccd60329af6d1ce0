# The one door to everything in this repository. `make` alone lists what there is.
# Needs Python >= 3.11, git and make; the rest is installed into .venv on first use.

PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
PORT   ?= 8000
# Notebooks to run, for `book`, `notebooks` and `nbval`: all of them unless named here.
NB     ?=
# For `gpu`: the folder of CIFAR-10 (cifar-10-batches-py, or images in train/CLASS and test/CLASS).
DATA   ?=
# For `install`: the address of PyTorch's builds for the CPU, where there is no room for those with CUDA (4 GB more).
TORCH_INDEX ?=

# What runs, runs with one thread, and side by side: small networks gain nothing by a second thread, and on a busy machine
# two threads spend their time waiting for each other. The pages compute the same under every target.
export OMP_NUM_THREADS ?= 1
export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))
ALONE    := $(PYTHON) tools/alone.py
PYTEST   := $(PY) -m pytest -q -n auto --maxprocesses 4
CHAPTERS := $(ALONE) $(PYTEST) --dist loadfile

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help install book html pdf notebooks serve lab train record gpu test test-all lint types unit site-check nbval portability mutants afresh clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  Also what needs CIFAR-10: make gpu DATA=folder"
	@echo "  Single chapters: make book NB=book/blocks/squeeze_excitation.ipynb (also notebooks, nbval)"

install: $(STAMP) ## make .venv and install everything into it (every other target does so when needed)

# Installed again when Python's version or what the project requires has changed, not when a file was merely touched: so
# a second call needs no network.
STATE := $(shell { $(PYTHON) --version; sed '/^\[tool/,$$d' pyproject.toml; cat requirements.txt constraints.txt; } 2>&1 | cksum)
ifneq ($(STATE),$(shell cat $(STAMP) 2>/dev/null))
.PHONY: $(STAMP)
endif
$(STAMP):
	@$(ALONE) $(PYTHON) tools/install.py $(VENV) "$(STATE)" $(TORCH_INDEX)

book: $(STAMP) ## run every chapter that has changed since it ran here, then build the site from what they printed
	@$(CHAPTERS) --nbval-lax $(or $(NB),book) || { echo "Not built: a chapter failed. The others are kept; the next call runs this one again." >&2; exit 1; }
	@$(PY) -m tools.site --executed

html: $(STAMP) ## build the site from the outputs stored in the notebooks
	@$(PY) -m tools.site

pdf: html ## print the whole book to _build/resnest_book.pdf (needs Chromium)
	@$(PY) -m tools.pdf

notebooks: $(STAMP) ## run the notebooks and store their outputs in place
	@$(CHAPTERS) --nbval-lax $(or $(NB),book)
	@$(PY) -m tools.notebooks --store $(NB)

serve: $(STAMP) ## serve the built site on this machine
	@test -f _build/html/index.html || { echo "Nothing built yet: run make html or make book first" >&2; exit 1; }
	@echo "http://127.0.0.1:$(PORT)/  (Ctrl-C ends it)"
	@$(PY) -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

lab: $(STAMP) ## open the chapters in JupyterLab
	@$(PY) -m jupyterlab book

train: $(STAMP) ## train a small ResNeSt on drawn shapes, into runs/shapes
	@$(PY) -m resnest_edu.training --recipe shapes --out runs/shapes --overwrite

record: $(STAMP) ## run the experiments that need no GPU; what is recorded for the same code is skipped
	@$(ALONE) $(PY) -m resnest_edu.experiments --cpu

gpu: $(STAMP) ## run all experiments, those that need a GPU included; what is recorded for the same code is skipped
	@$(ALONE) $(PY) -m resnest_edu.experiments $(if $(DATA),--data "$(DATA)")

test: lint types unit site-check nbval ## everything that a commit must pass, cheap checks first

# What takes long and seldom finds anything: exhaustive grids, Triton's interpreter, fifty kills, every page in every
# combination, and all chapters and pages made afresh.
test-all: PYTEST += -m ""
test-all: afresh test mutants ## everything, from nothing: before a release

afresh: ## forget what ran and what was built, so that the next call makes all of it anew
	@rm -rf _build/executed _build/site _build/check

lint: $(STAMP) ## style of the code (ruff)
	@$(PY) -m ruff check resnest_edu tools tests book

types: $(STAMP) ## types of the code (mypy)
	@$(PY) -m mypy

unit: $(STAMP) ## tests of the package and the tools, and the form of the stored notebooks
	@$(PY) -m tools.notebooks --check $(NB)
	@$(PYTEST) --dist worksteal

site-check: $(STAMP) ## links, alt texts, and every page in a browser: errors, formulas, axe, weight, keyboard
	@$(PY) -m tools.site --check
	@$(PY) -m tools.check_site _build/check
	@$(PYTEST) tests/site/pages.py

nbval: $(STAMP) ## run the chapters that have changed, and compare all with their stored outputs
	@$(CHAPTERS) --nbval $(or $(NB),book)

portability: $(STAMP) ## run every chapter as other machines would: instruction sets, threads, versions of torch (hours)
	@$(PY) -m tools.portability

mutants: $(STAMP) ## break the blocks in every small way, and list the breakages that no test notices (not part of test)
	@$(PY) -m mutmut run
	@$(PY) -m mutmut results

clean: ## remove what was built (not .venv, not runs)
	@rm -rf _build mutants .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find resnest_edu tools tests book -name __pycache__ -o -name .ipynb_checkpoints -o -name .ruff_cache | xargs rm -rf
