# Set up and run Sensorium. Needs Python >= 3.11, make and a package index; nothing is installed outside this folder but
# the model's parts, which go to the user's cache (SENSORIUM_CACHE moves it).
#
#   make serve                                                       a page in the browser, and an API; PORT, MODEL
#   make chat IMAGE=photo.jpg QUESTION="What is in the picture?"     one answer; without arguments an interactive chat
#   make scores SCENES=runs/scenes                                   measure the default anew, for its model card
#   make test                                                        the tests that take seconds; test-all: all of them
#
# A second start finds the stamps newer than what they depend on, and begins at once without the network.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup setup-dev chat serve test test-all check scores clean

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
READY_SERVE := $(VENV)/.ready-serve
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt

REMEDY := error: packages could not be installed; look whether the network and the package index can be reached, then \
type the same again
FAILED := { echo '$(REMEDY)' >&2; exit 2; }

# Handed on by the environment: a quote or a `$$` in a question must never be read by the shell.
override export IMAGE := $(value IMAGE)
override export QUESTION := $(value QUESTION)
override export MODEL := $(value MODEL)
override export DRAW := $(value DRAW)
override export PORT := $(value PORT)
override export PYTEST_ARGS := $(value PYTEST_ARGS)

help:
	@sed -n 's/^#   //p' Makefile
	@echo 'make setup | check | clean                                       set up; lint and types; remove what was made'

setup: $(READY)

setup-dev: $(READY_DEV)

$(BIN)/python:
	@for python in python3 python3.13 python3.12 python3.11; do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        echo "Making $(VENV) with $$($$python --version)"; \
	        $$python -m venv $(VENV) || { rm -rf $(VENV); \
	            echo "error: $$python cannot make a virtual environment; on Debian: apt install python3-venv" >&2; exit 2; }; \
	        exit 0; \
	    fi; \
	done; \
	echo 'error: Sensorium needs Python 3.11 or newer, and none was found (looked for python3, python3.13, .12, .11).' >&2; \
	exit 2

# torch by name first: where the index offers its CPU build, this takes it, gigabytes smaller.
$(READY): $(BIN)/python pyproject.toml constraints.txt
	@echo 'Installing Sensorium (once; torch is large, so this can take some minutes)'
	@$(PIP) torch==2.13.0 || $(FAILED)
	@$(PIP) --editable . || $(FAILED)
	@touch $@

$(READY_DEV): $(READY)
	@echo 'Installing what the tests need'
	@$(PIP) --editable '.[dev]' || $(FAILED)
	@touch $@

$(READY_SERVE): $(READY)
	@echo 'Installing what serving needs'
	@$(PIP) --editable '.[serve]' || $(FAILED)
	@touch $@

chat: $(READY)
	@set --; \
	if [ -n "$$MODEL" ]; then set -- "$$@" "$$MODEL"; fi; \
	if [ -n "$$IMAGE" ]; then set -- "$$@" "--image=$$IMAGE"; fi; \
	if [ -n "$$QUESTION" ]; then set -- "$$@" "--question=$$QUESTION"; fi; \
	if [ -n "$$DRAW" ]; then set -- "$$@" "--draw=$$DRAW"; fi; \
	exec $(BIN)/sensorium chat "$$@"

serve: $(READY_SERVE)
	@set --; \
	if [ -n "$$MODEL" ]; then set -- "$$@" "$$MODEL"; fi; \
	if [ -n "$$PORT" ]; then set -- "$$@" "--port=$$PORT"; fi; \
	exec $(BIN)/sensorium serve "$$@"

# Two processes of one thread each: tests are many and small. PYTEST_ARGS goes through PYTEST_ADDOPTS: pytest splits that
# like a shell and runs nothing of it. The last -m counts, and the last -n.
test: $(READY_DEV)
	@OMP_NUM_THREADS=1 PYTEST_ADDOPTS="$$PYTEST_ADDOPTS -n 2 -m 'not slow' $$PYTEST_ARGS" $(BIN)/python -m pytest

# Also real training runs, and the scenes' real sources where they are installed: minutes.
test-all: $(READY_DEV)
	@PYTEST_ADDOPTS="$$PYTEST_ADDOPTS $$PYTEST_ARGS" $(BIN)/python -m pytest

check: $(READY_DEV)
	@$(BIN)/ruff check src tests benchmarks
	@$(BIN)/mypy

# Hours on two cores. SCENES: a folder of `sensorium data build scenes`; SCORES_ARGS: see benchmarks/scores.py --help.
SCENES ?= runs/scenes
scores: $(READY)
	@$(BIN)/python benchmarks/scores.py --scenes "$(SCENES)" $(SCORES_ARGS)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist src/sensorium.egg-info
