# twin-edge: `make` alone explains itself. The verbs call tools; the logic is in the tools.
NAME    ?= rig
SUBJECT ?= rig
RECIPE  ?=
SIZE    ?=
FORCE   ?=
PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.installed
CLIP    := clips/franck.mp4
# What is measured: NAME, and the face where it has been trained.
BENCHED  = $(sort $(NAME) $(patsubst bundles/%.twin,%,$(wildcard bundles/face.twin)))
FORCED   = $(if $(filter-out 0,$(FORCE)),--force)

.DEFAULT_GOAL := help
.PHONY: help install demo train convert test lint type format bench bench-link collection fuzz face digits clean

help: ## Show this help
	@echo "twin-edge: train a digital twin, run it on a small device, sync it over MQTT"
	@echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12 | sed 's/^/  make /'
	@echo
	@echo "  Variables: NAME=rig  SUBJECT=rig (a video, images:FOLDER or a camera URI)  RECIPE=parts|face|linear|rig|quick|digits|FILE.toml"
	@echo "              SIZE=small|standard|large (64, 128 or 256 pixels)  FORCE=1 replaces a run and a bundle that are there"
	@echo "  Example:   make train convert SUBJECT=me.mp4 NAME=me"

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[training,litert,broker,provision,bench,dev]'
	@touch $@

install: $(STAMP) ## Make .venv with everything for workstation and device

demo: $(STAMP) ## From nothing to a synced twin: train, convert, run, subscribe; see demo/
	$(BIN)/python benchmarks/demo.py

train: $(STAMP) ## Train SUBJECT as NAME -> runs/NAME
	$(BIN)/twin-train '$(SUBJECT)' --name '$(NAME)' $(if $(RECIPE),--recipe '$(RECIPE)') $(if $(SIZE),--size '$(SIZE)') $(FORCED)

convert: $(STAMP) ## Quantize runs/NAME -> bundles/NAME.twin
	$(BIN)/twin-convert 'runs/$(NAME)' $(FORCED)

test: $(STAMP) ## Run all tests
	$(BIN)/python -m pytest

lint: $(STAMP) ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(STAMP) ## Check types
	$(BIN)/mypy

format: $(STAMP) ## Format and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## Measure all that docs/benchmarks/ tells: rates, speed, faults, link (rig and face where there)
	$(BIN)/python benchmarks/rate_distortion.py $(BENCHED)
	$(BIN)/python benchmarks/speed.py '$(NAME)'
	$(BIN)/python benchmarks/ablation.py --clip '$(NAME)' $(if $(filter rig,$(SUBJECT)),rig --recipe rig,'$(SUBJECT)')
	$(BIN)/python benchmarks/faults.py 'bundles/$(NAME).twin'
	$(BIN)/python benchmarks/device.py 'bundles/$(NAME).twin'
	$(BIN)/python benchmarks/report.py $(BENCHED)

collection: $(STAMP) ## Train, convert and measure every recording of the collection: an hour and more (docs/collection.md)
	cd benchmarks && ../$(BIN)/python -m collection

fuzz: $(STAMP) ## A million mutated messages, bundles and settings through every parser
	$(BIN)/python benchmarks/fuzz.py 'bundles/$(NAME).twin'

bench-link: $(STAMP) ## Try the link in 32 faults beside bare clients, kill it, measure its cost -> docs/faults.md
	cd benchmarks && ../$(BIN)/python -m link cost --bundle '../bundles/$(NAME).twin'
	cd benchmarks && ../$(BIN)/python -m link faults --bundle '../bundles/$(NAME).twin'
	cd benchmarks && ../$(BIN)/python -m link shows --bundle '../bundles/$(NAME).twin'

$(CLIP): $(STAMP)
	$(BIN)/python benchmarks/fetch_clip.py

face: $(CLIP) ## Fetch the talking-face clip, train and convert it as 'face'
	$(MAKE) train convert SUBJECT=$(CLIP) NAME=face FORCE=1

digits: $(STAMP) ## Fetch handwritten digits, train the article's network on them, measure what it imagines
	$(BIN)/python benchmarks/fetch_digits.py
	$(MAKE) train convert SUBJECT=images:clips/digits NAME=digits RECIPE=digits FORCE=1
	$(BIN)/python benchmarks/digits.py bundles/digits.twin

clean: ## Remove everything that make has made
	rm -rf $(VENV) runs bundles demo clips .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
