# make help lists what there is. Every target sets up .venv when it is missing or pyproject.toml has changed.
SHELL := /bin/sh
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# One worker a core; a cell computes on one thread.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)')
export HF_HUB_OFFLINE := 1

.PHONY: help setup bench report test test-slow store-fire lint format clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv and install everything from pinned constraints

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

bench: $(READY) ## the main job: the smoke gate on bundled photographs and metrics, report in reports/
	rm -rf reports/allure-results
	$(BIN)/pytest test_suites/robustness -n $(WORKERS) --iqa-profile=smoke --alluredir=reports/allure-results \
		--junitxml=reports/junit.xml -p no:cacheprovider

report: $(READY) ## Allure's report of the last run, in reports/allure-report; without Node, reports/summary.html is the report
	$(BIN)/iqa-robustness report

test: $(READY) ## unit and conformance tests, and a small slice of the robustness suite
	$(BIN)/pytest test_suites/unit test_suites/conformance -n $(WORKERS) --dist worksteal -m "not slow" --durations=10
	$(BIN)/pytest test_suites/robustness -n $(WORKERS) --iqa-metric=compact --iqa-defense=none,flip \
		--iqa-attack=ifgsm --iqa-strength=medium --iqa-store=reports/test-store --iqa-reports=reports/test

test-slow: $(READY) ## the tests that `make test` leaves out, and properties on new examples
	$(BIN)/pytest test_suites/unit test_suites/conformance -n $(WORKERS) -m slow --durations=10
	HYPOTHESIS_PROFILE=explore $(BIN)/pytest test_suites/unit test_suites/conformance -n $(WORKERS) -m "hypothesis and not slow"

store-fire: $(READY) ## a thousand kills and flipped bytes, and what the store makes of them
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/store_under_fire.py

lint: $(READY) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## let ruff format and sort
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove .venv, the store and the reports
	rm -rf .venv .iqa-store reports/* build *.egg-info
