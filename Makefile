# The one door to everything in this repository. `make` alone lists what there is.
# Needs Python >= 3.11, git and make; the rest is installed into .venv on first use.

PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
PORT   ?= 8000
# Notebooks to run, for `book`, `notebooks` and `nbval`: all that _toc.yml lists unless named here.
NB     ?=
# For `gpu`: the folder of CIFAR-10 (cifar-10-batches-py, or images in train/CLASS and test/CLASS).
DATA   ?=
# Tests run side by side, each with one thread: faster than one after the other with all threads.
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest -q -n auto --maxprocesses 4

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help install book html pdf notebooks serve lab train gpu test lint types unit site-check nbval lighthouse mutants clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  Also what needs CIFAR-10: make gpu DATA=folder"
	@echo "  Single chapters: make book NB=book/blocks/squeeze_excitation.ipynb (also notebooks, nbval)"

install: $(STAMP) ## make .venv and install everything into it (every other target does so when needed)

# Rebuilt only when one of the two files that name dependencies changes.
$(STAMP): pyproject.toml requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11 or newer is needed; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true). Name another: make PYTHON=python3.12" >&2; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV): a few minutes and several GB the first time"
	@$(PY) -m pip install --disable-pip-version-check -r requirements.txt -e . > $(VENV)/pip.log 2>&1 \
	  || { cat $(VENV)/pip.log >&2; exit 1; }
	@touch $@

book: $(STAMP) ## run every notebook here and now, then build the site from what they printed
	@$(PY) -m tools.site --execute $(NB)

html: $(STAMP) ## build the site from the outputs stored in the notebooks
	@$(PY) -m tools.site

pdf: html ## print the whole book to _build/resnest_book.pdf (needs Chromium)
	@$(PY) -m tools.pdf

notebooks: $(STAMP) ## run the notebooks and store their outputs in place
	@$(PY) -m tools.notebooks $(NB)

serve: $(STAMP) ## serve the built site on this machine
	@test -f _build/html/index.html || { echo "Nothing built yet: run make html or make book first" >&2; exit 1; }
	@echo "http://127.0.0.1:$(PORT)/  (Ctrl-C ends it)"
	@$(PY) -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

lab: $(STAMP) ## open the chapters in JupyterLab
	@$(PY) -m jupyterlab book

train: $(STAMP) ## train a small ResNeSt on drawn shapes, into runs/shapes
	@$(PY) -m resnest_edu.training --recipe shapes --out runs/shapes --overwrite

gpu: $(STAMP) ## run the recorded experiments into book/results; what is recorded for the same code is skipped
	@$(PY) -m resnest_edu.experiments $(if $(DATA),--data "$(DATA)")

test: lint types unit site-check nbval ## every check, cheap ones first

lint: $(STAMP) ## style of the code (ruff)
	@$(PY) -m ruff check resnest_edu tools tests book

types: $(STAMP) ## types of the code (mypy)
	@$(PY) -m mypy

unit: $(STAMP) ## tests of the package and the tools, and the form of the stored notebooks
	@$(PY) -m tools.notebooks --check $(NB)
	@$(PYTEST)

site-check: html ## links, alt texts, and every page in a browser: errors, formulas, axe, weight, keyboard
	@$(PY) -m tools.check_site _build/html

nbval: $(STAMP) ## run the notebooks and compare with their stored outputs
	@$(PYTEST) --dist loadfile --nbval --nbval-current-env $(or $(NB),book)

lighthouse: html ## Lighthouse's marks of three pages, each at least 95 (needs node and Chromium; not part of test)
	@$(PY) -m tools.lighthouse

mutants: $(STAMP) ## break the blocks in every small way, and list the breakages that no test notices (not part of test)
	@OMP_NUM_THREADS=1 $(PY) -m mutmut run
	@$(PY) -m mutmut results

clean: ## remove what was built (not .venv, not runs)
	@rm -rf _build mutants .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find resnest_edu tools tests book -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf
