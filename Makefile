# make run: the demo, with MQTT=tcp:localhost:1883 on a broker, too; make test: everything; make test-ha: what Home Assistant
# says to what it is told, installed for that; make lint; make bench: how fast it is here; make fuzz: nonsense from every
# side for ten minutes (FUZZ_SECONDS and FUZZ_SEED choose otherwise); make deb: the Debian package, in the directory
# above; make lock: newest versions of the libraries that all of these use

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

SOURCES := setup.py pyproject.toml debian/changelog $(shell find evok_twisted twisted conf -name '*.py' -o -name '*.yaml')

# Home Assistant, of which no version is for all Pythons, in an environment of its own
HA := .venv-ha
HA_PYTHON := $(or $(shell command -v python3.13),$(PYTHON))
HA_VERSION := $(if $(findstring 3.13,$(HA_PYTHON)),2026.2.3,2024.3.3)
HA_PAHO := $(if $(findstring 3.13,$(HA_PYTHON)),2.1.0,1.6.1)

.PHONY: run test test-ha lint fuzz bench deb lock clean

run: $(VENV)/installed
	@exec $(BIN)/twistd --nodaemon --pidfile= evok --demo $(if $(MQTT),--mqtt $(MQTT))

test: $(VENV)/test-installed
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered $(TESTS)
	@echo 'Branch coverage of model and core:'
	@$(BIN)/coverage report --include='evok_twisted/model/*,evok_twisted/core/*' --format=total
	@$(BIN)/coverage report --include='evok_twisted/model/*,evok_twisted/core/*' --fail-under=95 >/dev/null

test-ha: $(VENV)/test-installed $(HA)/installed
	EVOK_HOME_ASSISTANT=$(abspath $(HA))/bin/python $(BIN)/python -m pytest tests/homeassistant

lint: $(VENV)/test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	.ci/javascript $(VENV)/javascript

fuzz: export FUZZ_SECONDS ?= 600
fuzz: export FUZZ_SEED ?= $(shell date +%s)
fuzz: $(VENV)/test-installed
	$(BIN)/python -m pytest -q tests/fuzz

bench: $(VENV)/test-installed
	$(BIN)/python benchmarks/bench.py $(BENCH)

deb:
	dpkg-buildpackage -us -uc -b

# for all machines, with the hashes of every file of a version, so that whatever pip chooses is what was meant; of what is
# in both files, the second has the versions of the first
lock: COMPILE = $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command 'make lock'
lock: $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(COMPILE) --excludes debian/libraries.excluded --output-file requirements.lock pyproject.toml
	$(COMPILE) --excludes debian/libraries.excluded --constraint requirements.lock --extra test \
		--output-file requirements-test.lock pyproject.toml
	$(COMPILE) --group build --output-file requirements-build.lock

clean:
	rm -rf $(VENV) $(HA) build *.egg-info

$(BIN)/python:
	@$(PYTHON) -m venv $(VENV)

$(HA)/installed:
	@$(HA_PYTHON) -m venv $(HA)
	@$(HA)/bin/python -m pip install --quiet --disable-pip-version-check homeassistant==$(HA_VERSION) paho-mqtt==$(HA_PAHO)
	@touch $@

# exactly what was tested, as the files of versions and hashes say; and the package as a user has it, not in place:
# Twisted finds plugins where they are installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps
OURS := $(PIP) --no-build-isolation --force-reinstall .

$(VENV)/libraries: $(BIN)/python requirements.lock requirements-build.lock
	@echo 'installing the libraries of requirements.lock (about half a minute, the first time only)'
	@$(PIP) --require-hashes -r requirements.lock -r requirements-build.lock
	@touch $@

$(VENV)/installed: $(VENV)/libraries $(SOURCES)
	@echo 'installing evok-twisted'
	@$(OURS)
	@touch $@

$(VENV)/test-installed: $(VENV)/installed requirements-test.lock
	@echo 'installing the tools of the tests'
	@$(PIP) --require-hashes -r requirements-test.lock
	@touch $@
