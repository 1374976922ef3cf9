# Two commands for a newcomer: `make demo` sets everything up and runs the main job, `make test` sets everything up and passes the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INPUTS := pyproject.toml constraints.txt Makefile

.DEFAULT_GOAL := help
.PHONY: help demo test check docs bench clean

help:
	@echo "make demo    set up and run the main job: gradtape augment digits"
	@echo "make test    set up and run the tests"
	@echo "make check   lint, types, import contracts, doctests"
	@echo "make docs    build the documentation into site/"
	@echo "make clean   remove the environment and everything built"

# uv where it works (several times faster), pip otherwise. uv reads neither pip's settings nor, unasked, the system's certificates.
define install
	@links="$${PIP_FIND_LINKS:-$$($(BIN)/python -m pip config get global.find-links 2>/dev/null || true)}"; \
	if [ -n "$$links" ]; then export UV_FIND_LINKS="$$links"; fi; \
	export UV_SYSTEM_CERTS=true; \
	$(BIN)/python -m uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.$(1)' \
	  || { echo "uv could not install; trying pip"; $(BIN)/python -m pip install --quiet -c constraints.txt -e '.$(1)'; }
	@touch $@
endef

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("gradtape needs Python 3.11 or newer; this is " + sys.version.split()[0] + ": name another with make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv || echo "uv could not be installed; going on with pip"

$(VENV)/.installed: $(INPUTS) | $(BIN)/python
	@echo "installing gradtape"
	$(call install,)
$(VENV)/.installed-test: $(INPUTS) | $(BIN)/python
	@echo "installing gradtape and what its tests need"
	$(call install,[test])
$(VENV)/.installed-check: $(INPUTS) | $(BIN)/python
	@echo "installing what the checks need"
	$(call install,[check])
$(VENV)/.installed-docs: $(INPUTS) | $(BIN)/python
	@echo "installing what the documentation needs"
	$(call install,[docs])

demo: $(VENV)/.installed
	$(BIN)/gradtape augment digits

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest

check: $(VENV)/.installed-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --doctest-modules src

docs: $(VENV)/.installed-docs
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) site dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
