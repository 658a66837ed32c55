# `make demo` and `make test` each make .venv themselves; nothing but Python 3.11+, pip and make is needed before.
PYTHON ?= python3
BIN := .venv/bin
# constraints.txt pins torch and with it the small CPU build where the package index offers one
# and Python compiles a module when it is first used: pip would spend two minutes on all there are
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install -qq --no-compile --constraint constraints.txt

.PHONY: demo test lint audit clean

demo: .venv/base
	@$(BIN)/kdsearch run studies/digits.py

test: .venv/dev
	$(BIN)/python -m pytest -n auto --dist loadgroup

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

audit: .venv/base
	@$(PIP) '.[audit]' || echo "pip-audit could not be installed"
	@$(BIN)/python .ci/audit

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/base: pyproject.toml constraints.txt
	@echo "setting up .venv (PyTorch, Optuna, MLflow: 2 to 4 minutes) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "kdsearch needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; name another with PYTHON=")'
	@$(PYTHON) -m venv .venv
	@$(PIP) --editable .
	@touch $@

.venv/dev: .venv/base
	@echo "adding the test tools to .venv ..."
	@$(PIP) --editable '.[dev]'
	@touch $@
