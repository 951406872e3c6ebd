# Two commands do all the set-up: `make demo` and `make test`. Each makes the virtual environment $(VENV) if it is missing.
PYTHON ?= python3
VENV   := .venv
TORCH  := torch==2.13.0

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test contract crash-matrix lint fuzz security sbom soak clean

help:  ## say what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  PYTHON=$(PYTHON) (3.11 or newer) makes the environment $(VENV)"

demo: $(VENV)/.run-ready  ## install qcnode and run its main job on phantoms: archive, node, verdicts, worklist in the browser until Ctrl-C
	$(VENV)/bin/qcnode demo $(DEMO_ARGS)

test: $(VENV)/.dev-ready  ## install the development tools too and run every test; PYTEST_ARGS="-k name" narrows it
	$(VENV)/bin/python -m pytest $(PYTEST_ARGS)

contract: $(VENV)/.dev-ready  ## ask the API several hundred made-up requests for each call (minutes); CONTRACT_EXAMPLES=1000 for more
	QCNODE_CONTRACT_EXAMPLES=$(or $(CONTRACT_EXAMPLES),200) $(VENV)/bin/python -m pytest -n 0 tests/test_web_contract.py

fuzz: $(VENV)/.dev-ready  ## break objects in FUZZ_OBJECTS=10000 ways over a folder and over the network, garbage for the ports; FUZZ_ARGS="--real FOLDER"
	PYTHONPATH=.:tests $(VENV)/bin/python -W ignore tests/fuzz/run.py --objects $(or $(FUZZ_OBJECTS),10000) $(FUZZ_ARGS)

crash-matrix: $(VENV)/.dev-ready  ## kill the node at every named step three times and at 200 random moments, and print what was lost or doubled (an hour)
	$(VENV)/bin/python tests/loopback/crash_matrix.py $(CRASH_ARGS)

lint: $(VENV)/.dev-ready  ## ruff and mypy --strict
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

security: $(VENV)/.dev-ready  ## bandit, known vulnerabilities of what is installed (pip-audit), licences and bill of materials of the runtime dependencies
	$(VENV)/bin/bandit --quiet --configfile pyproject.toml --recursive qcnode training
	$(VENV)/bin/python tests/supply_chain.py audit
	$(VENV)/bin/python tests/supply_chain.py licences dist/licences.md
	$(VENV)/bin/python tests/supply_chain.py sbom dist/qcnode.cdx.json

sbom: $(VENV)/.dev-ready  ## the runtime dependencies with their licences as CycloneDX JSON, dist/qcnode.cdx.json
	$(VENV)/bin/python tests/supply_chain.py sbom dist/qcnode.cdx.json

soak: $(VENV)/.dev-ready  ## half an hour of the highest load that this machine sustains, against Orthanc; SOAK_ARGS="--minutes 3 --settle 1"
	$(VENV)/bin/python tests/peers/soak.py $(SOAK_ARGS)

clean:  ## remove the virtual environment and the tools' caches; var/ (received objects, results) stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build dist *.egg-info

# .whole is there only while no installation is under way: one that broke off leaves it out, and the next make starts afresh.
$(VENV)/.run-ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("qcnode needs Python 3.11 or newer: make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	@rm -f $(VENV)/.run-ready $(VENV)/.dev-ready
	@test -e $(VENV)/.whole || { rm -rf $(VENV) && { $(PYTHON) -m venv $(VENV) || $(venv_without_ensurepip); }; }
	@rm -f $(VENV)/.whole
	$(VENV)/bin/python -m pip install --quiet $(TORCH)
	$(VENV)/bin/python -m pip install --quiet --editable .
	@touch $(VENV)/.whole $@

$(VENV)/.dev-ready: $(VENV)/.run-ready
	@rm -f $(VENV)/.whole $(VENV)/.run-ready
	$(VENV)/bin/python -m pip install --quiet --editable '.[dev,training]'
	@touch $(VENV)/.whole $(VENV)/.run-ready && touch $@

# Some distributions leave ensurepip out of Python: the machine's own pip then fills the environment.
venv_without_ensurepip = { rm -rf $(VENV) && $(PYTHON) -m venv --without-pip $(VENV) && $(PYTHON) -m pip --python $(VENV)/bin/python install pip; }
