# Two commands set everything up on a fresh Debian or Ubuntu machine: `make demo` and `make test`.

# The first interpreter that is new enough.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
HSI := $(BIN)/hsi
OUT ?= demo
SCENES ?= $(or $(HSI_SHARED),../shared)/scenes

# QGIS's own Python, which the plugin runs in.
QGIS_PYTHON ?= /usr/bin/python3

.PHONY: setup demo plugin install-plugin pretrained screenshots test test-core test-qgis qgis lint bench bench-accuracy \
  bench-analysis bench-compression bench-hypersigma clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -n '$(PYTHON)' || { echo 'Python 3.11 or newer is needed. Install it, or set PYTHON=...'; exit 1; }
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || { test "$$(id -u)" = 0 && apt-get update -qq && \
	  apt-get install -qq -y python3-venv >/dev/null && $(PYTHON) -m venv --clear $(VENV); } || \
	  { echo 'The virtual environment could not be made. On Debian and Ubuntu: apt install python3-venv'; exit 1; }
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	@touch $@

# The main job on a scene the project makes itself; on your own files with SCENE=, LABELS= and FIELD=.
demo: setup
ifdef SCENE
	$(HSI) map '$(SCENE)' --labels '$(LABELS)' --field '$(FIELD)' --output '$(OUT)' --overwrite
else
	$(HSI) demo --output '$(OUT)' --overwrite
endif

# The plugin as a zip for QGIS's plugin manager.
plugin: setup
	$(BIN)/python tools/build_plugin.py

# This clone as a plugin of QGIS's default profile, or of PROFILE=folder.
install-plugin: setup
	$(BIN)/python tools/install_plugin.py $(if $(PROFILE),--profile '$(PROFILE)')

# The pretrained network that ships with the package, from the folder SCENES of libraries and scenes.
pretrained: setup
	$(BIN)/python -m tools.pretrain_small --scenes '$(SCENES)'

# The tutorial's pictures, from a real QGIS window on a virtual screen.
screenshots: setup qgis
	HSI_PYTHON='$(CURDIR)/$(BIN)/python' $(QGIS_PYTHON) tools/screenshots.py

test: lint test-core test-qgis

test-core: setup
	$(BIN)/python -m pytest

# QGIS comes from Debian's packages where this user may install them. Without it the plugin's tests are
# skipped and the run says so; HSI_REQUIRE_QGIS=1 makes that an error.
qgis:
	@$(QGIS_PYTHON) -c 'import ensurepip, pytest, qgis.core' 2>/dev/null || { test "$$(id -u)" = 0 && apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends qgis python3-qgis python3-venv python3-pytest \
	  xvfb >/dev/null; } || test -z '$(HSI_REQUIRE_QGIS)' || { echo 'QGIS cannot be installed here.'; exit 1; }

test-qgis: setup qgis
	@if $(QGIS_PYTHON) -c 'import ensurepip, pytest, qgis.core' 2>/dev/null; then \
	  cd tests/qgis && HSI_PYTHON='$(CURDIR)/$(BIN)/python' $(QGIS_PYTHON) -m pytest; \
	else \
	  echo '*** The tests of the QGIS plugin were SKIPPED: there is no QGIS here.'; \
	  echo '*** On Debian and Ubuntu: apt install qgis python3-qgis python3-venv python3-pytest'; \
	  test -z '$(HSI_REQUIRE_QGIS)'; \
	fi

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m benchmarks.mspca
	$(BIN)/python -m benchmarks.reading
	$(BIN)/python -m benchmarks.inference
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.scaling
	$(BIN)/python -m benchmarks.huge
	$(BIN)/python -m benchmarks.cluster
	HSI_PYTHON='$(CURDIR)/$(BIN)/python' $(QGIS_PYTHON) benchmarks/engine.py

# Needs the real scenes; peers that are not installed are left out.
bench-analysis: setup
	HSI_SHARED='$(patsubst %/scenes,%,$(SCENES))' $(BIN)/python -m benchmarks.unmixing
	HSI_SHARED='$(patsubst %/scenes,%,$(SCENES))' $(BIN)/python -m benchmarks.denoising
	HSI_SHARED='$(patsubst %/scenes,%,$(SCENES))' $(BIN)/python -m benchmarks.detection
	$(BIN)/python -m benchmarks.change
	HSI_SHARED='$(patsubst %/scenes,%,$(SCENES))' $(BIN)/python -m benchmarks.fusion

# With PEERS=python of an environment that has imagecodecs, its codecs are measured, too.
bench-compression: setup
	HSI_SHARED='$(patsubst %/scenes,%,$(SCENES))' $(BIN)/python -m benchmarks.compression $(if $(PEERS),--peers '$(PEERS)')

# HyperSIGMA's full-size networks against the plain way; minutes, and 5 GB of memory.
bench-hypersigma: setup
	$(BIN)/python -m benchmarks.hypersigma_speed

bench-accuracy: setup
	$(BIN)/python -m benchmarks.accuracy --scenes '$(SCENES)'

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
