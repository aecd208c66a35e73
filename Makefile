# Two commands on a fresh machine: `make demo` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.setup

.PHONY: setup demo demo-ct test test-kill test-faults fuzz lint bench clean
.DEFAULT_GOAL := help

help:  ## what can be called
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

setup: $(STAMP)  ## Python parts into .venv, and the peers that demo and tests use (apt, npm)

$(STAMP): pyproject.toml constraints.txt deploy/dev/install_peers.sh deploy/dev/fhir_peer/package-lock.json
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make setup PYTHON=…"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	bash deploy/dev/install_peers.sh
	touch $@

demo: $(STAMP)  ## the main job on a real radiograph; results in demo-out/
	$(BIN)/dicom-node demo --out demo-out

demo-ct: $(STAMP)  ## a drawn chest CT of 120 slices through PACS and node; results in demo-ct-out/
	$(BIN)/dicom-node demo --ct --out demo-ct-out

test: $(STAMP)  ## everything: unit, contract, integration against Orthanc, DCMTK and Postgres on loopback
	$(BIN)/python -m pytest -m "not gpu and not faults" -n 3 --dist loadfile --no-loadscope-reorder --durations=15

test-kill: $(STAMP)  ## the long form of the kill test: 40 studies, 20 kills
	$(BIN)/python -m pytest -m faults tests/integration

test-faults: $(STAMP)  ## kill -9 at every step, disk full, database down, peers in trouble, clock jumps; on SQLite and PostgreSQL
	$(BIN)/python -m pytest -m "faults or not gpu" -q tests/faults

fuzz: $(STAMP)  ## at least 100,000 damaged PDUs and data sets; MINUTES=5, and SEED=... to do the same again
	$(BIN)/python -m tests.fuzz --minutes $(or $(MINUTES),8) $(if $(SEED),--seed $(SEED))

lint: $(STAMP)  ## ruff, mypy strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(STAMP)  ## reception beside Orthanc, DCMTK and a bare copy; start-up; time to the answer; written to docs/reference
	$(BIN)/python -m tests.benchmark

clean:  ## what the demo and the tests left
	rm -rf demo-out demo-ct-out build dist .pytest_cache .mypy_cache .ruff_cache
