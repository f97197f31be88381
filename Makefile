# Every target sets up .venv by itself; nothing but Python >= 3.11 and make is needed.
# Packages are compiled to bytecode once, all but the kubernetes client: it is huge and rarely imported.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
RUN := $(VENV)/bin
ARGS ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test chaos check bench regold lock clean

$(VENV)/installed: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Muxel needs Python 3.11 or newer" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(RUN)/pip install --quiet --no-compile -r requirements.lock
	$(RUN)/pip install --quiet --no-compile --no-deps --no-build-isolation -e .
	$(RUN)/python -m compileall -q -j 0 -x '/(kubernetes|tests)/' $(VENV)/lib proxy policies adapters || true
	@touch $@

demo: $(VENV)/installed
	@$(RUN)/muxel demo $(ARGS)

test: $(VENV)/installed
	$(RUN)/pytest -n auto $(ARGS)

# A thousand reloads under load, where the ordinary tests make two hundred: a few minutes.
chaos: $(VENV)/installed
	$(RUN)/pytest -s tests/proxy/test_reloads_under_load.py --reloads 1000 $(ARGS)

check: $(VENV)/installed
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/lint-imports
	$(RUN)/muxel check policies/defaults policies/models
	$(RUN)/muxel check deploy
	$(RUN)/muxel test policies/defaults
	$(RUN)/muxel test deploy/gitops/base/policies

bench: $(VENV)/installed
	$(RUN)/python -m tests.bench $(ARGS)

regold: $(VENV)/installed
	$(RUN)/pytest --regold $(ARGS)

# Exact versions of everything in a fresh environment; no index address is written.
lock:
	$(PYTHON) -m venv --clear .venv-lock
	.venv-lock/bin/pip install --quiet hatchling editables -e '.[dev]'
	.venv-lock/bin/pip freeze --exclude-editable --exclude muxel > requirements.lock
	rm -rf .venv-lock .venv

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache muxel-demo
