# make run: the demo; make test: everything; make lint; make bench: how fast it is here; make fuzz: nonsense from every
# side for ten minutes (FUZZ_SECONDS and FUZZ_SEED choose otherwise); make deb: the Debian package, in the directory
# above; make lock: the libraries that go into it, at their newest versions

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

SOURCES := setup.py pyproject.toml debian/changelog $(shell find evok_twisted twisted conf -name '*.py' -o -name '*.yaml')

.PHONY: run test lint fuzz bench deb lock clean

run: $(VENV)/installed
	@exec $(BIN)/twistd --nodaemon --pidfile= evok --demo

test: $(VENV)/test-installed
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered $(TESTS)
	@echo 'Branch coverage of model and core:'
	@$(BIN)/coverage report --include='evok_twisted/model/*,evok_twisted/core/*' --format=total
	@$(BIN)/coverage report --include='evok_twisted/model/*,evok_twisted/core/*' --fail-under=95 >/dev/null

lint: $(VENV)/test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fuzz: export FUZZ_SECONDS ?= 600
fuzz: export FUZZ_SEED ?= $(shell date +%s)
fuzz: $(VENV)/test-installed
	$(BIN)/python -m pytest -q tests/fuzz

bench: $(VENV)/test-installed
	$(BIN)/python benchmarks/bench.py $(BENCH)

deb:
	dpkg-buildpackage -us -uc -b

# for all machines, with the hashes of every file of a version, so that whatever pip chooses is what was meant
lock: $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--excludes debian/libraries.excluded --custom-compile-command 'make lock' --output-file requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) build *.egg-info

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# the package is installed as a user has it, not in place: Twisted finds plugins where they are installed
$(VENV)/installed: $(BIN)/python $(SOURCES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check .
	@touch $@

$(VENV)/test-installed: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check '.[test]'
	@touch $@
