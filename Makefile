# One command each, all of them complete on a fresh machine.
#   make test    set up .venv, fetch AWS's emulator, run the whole suite
#   make demo    set up .venv, put load on an example handler, print the report
#   make check   formatting, types, import rules, spelling, public API
#   make docs    build the site into site/
#   make bench   side by side with awslambdaric under AWS's emulator
#   make clean   remove what the other targets made

PYTHON ?= python3
VENV ?= .venv
# Where the emulator's binary is kept between runs.
export LMI_CACHE_DIR ?= $(CURDIR)/.cache
JOBS ?= auto
TESTS ?=
PYTEST_ARGS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help venv test demo check docs bench clean

help:
	@sed -n 's/^#   //p' Makefile

venv: $(STAMP)

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[dev]'
	@touch $@

test: venv
	@$(BIN)/python -m compileall -q lmi_runtime
	-@$(BIN)/python -m scripts.fetch_rie
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(PYTEST_ARGS) $(TESTS)

demo: venv
	@$(BIN)/python -m compileall -q lmi_runtime
	$(BIN)/lmi load docs/examples/orders.handler --concurrency 32 --seconds 10

check: venv
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/check

docs: venv
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --config-file docs/mkdocs.yml

bench: venv
	@$(BIN)/python -m compileall -q lmi_runtime
	$(BIN)/python -m stress.bench

clean:
	rm -rf .venv .venv-* .cache site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find lmi_runtime tests stress scripts docs -name __pycache__ -type d -prune -exec rm -rf {} +
