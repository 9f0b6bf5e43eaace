# Every target uses the environment that README's test command makes.
PYTHON ?= .venv/bin/python
BIN := $(dir $(PYTHON))

.PHONY: check test lint format wheel-test

check: lint test wheel-test

test:
	$(PYTHON) -m pytest

lint:
	$(BIN)ruff check .
	$(BIN)ruff format --check .
	$(BIN)mypy
	$(BIN)sqlfluff lint --disable-progress-bar sql

format:
	$(BIN)ruff check --fix .
	$(BIN)ruff format .

wheel-test:
	$(PYTHON) -m pytest -m wheel
