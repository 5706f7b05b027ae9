# `make demo` and `make test` do all the set-up: Debian packages when root, a virtual environment for Python.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help venv demo test test-failed web-test test-fast coverage coverage-core coverage-package test-pythons format generated man docs pictures packages package-test agents acceptance lint bench fuzz enumerate mutants clean

help:
	@echo "make demo   two nodes on this machine replay the tutorial, up to takeover and failback"
	@echo "make test   all tests, with two real nodes in namespaces where that is possible"
	@echo "make test-failed  again, one at a time, what failed in the last run, three tests at most"
	@echo "make web-test  the page of openha web in a headless Chromium, which it installs; SHOTS=DIR keeps pictures"
	@echo "make test-fast  the pure tests (decisions, formats, rendering), in half a minute: after each edit"
	@echo "make coverage  fails if a branch of the decision code is met by none of its tests (coverage-core), or more than a tenth of the"
	@echo "            package's lines by none at all (coverage-package); long"
	@echo "make test-pythons  the fast tests under each Python of PYTHONS that is there: $(PYTHONS)"
	@echo "make agents OPENSVC_AGENT_ROOTS=DIR:DIR...  the drivers' whole contract, and the tutorial in each of these OpenSVC agents; root"
	@echo "make acceptance  two machines with kernels of their own (User-Mode Linux): LVM, docker, fences, leases; root, hours, --only NAME ten minutes"
	@echo "make format  what ruff can put right by itself"
	@echo "make generated  the tables and samples that are generated from the code, such as that of docs/options.md"
	@echo "make packages  sdist, wheel, .deb, .rpm, bill of materials, each checked, into dist/"
	@echo "make package-test  two systemd nodes (systemd-nspawn) with the .deb: upgrade under a watcher, reboot, removal; root, minutes"
	@echo "make man    manual pages and completion, generated from the parsers into build/manual"
	@echo "make docs   the documentation site in build/docs/html; pictures: draws docs/images again"
	@echo "make lint   ruff (format and check), mypy strict, import contract, the documentation's links"
	@echo "make bench  what is measured here, beside keepalived, Pacemaker and heartbeat where installed, and what heartbeats cost:"
	@echo "            prints tables; hours, COMPARISON=--quick shortens the first one to ten minutes"
	@echo "make fuzz   hostile input for the parsers and a whole node, RUNS inputs of it"
	@echo "make enumerate  the model checker: two nodes, every state, event and message outcome, DEPTH moves deep"
	@echo "make mutants  plants faults in the decision code one at a time, and prints which test finds each; each EVERYth one,"
	@echo "            and all that were planted by hand; MUTANTS=--by-hand takes those alone, MUTANTS='--room system/atomic_files'"
	@echo "            another room or file: system, storage, heartbeat, daemon, control, links, formats, agent"
	@echo "make venv   the virtual environment in $(VENV)"

venv: $(READY)

# Debian packages and Python's at the same time, once there is a Python that can make a virtual environment.
$(READY): setup.cfg pyproject.toml .ci/packages
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || .ci/packages
	@.ci/packages & \
	{ $(PYTHON) -m venv $(VENV) && \
	    $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,lint,docs]'; }; \
	made=$$?; wait $$! && exit $$made
	@touch $@

demo: venv
	$(BIN)/openha demo $(DEMO)

JOBS ?= 8
FAST_JOBS ?= 2

# Modules are compiled once, whatever the shell's environment demands: not by each process that a test starts, nor by each
# worker that collects the tests, which takes longer than most of them.
COMPILED = PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX=$(CURDIR)/$(VENV)/pycache

test: venv
	@$(BIN)/python -m compileall -q opensvc_openha
	@$(COMPILED) $(BIN)/python -m pytest -q --collect-only $(TESTS) >/dev/null || true
	$(COMPILED) $(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(TESTS)

# A second try, one at a time, of up to three tests that failed in the last run.
test-failed: venv
	@$(BIN)/python -c 'import json, sys; n = len(json.load(open(".pytest_cache/v/cache/lastfailed"))); \
	    print(n, "failed"); sys.exit(not 1 <= n <= 3)'
	$(BIN)/python -m pytest --last-failed --last-failed-no-failures none $(TESTS)

# Outside of CI: the browser takes longer to install than its tests to run.
web-test: venv
	@command -v chromedriver >/dev/null || { apt-get -qq update && \
	    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium chromium-driver; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[browser]'
	OPENHA_SHOTS="$(SHOTS)" $(BIN)/python -m pytest -q tests/live/test_browser.py $(TESTS)

test-fast: venv
	$(COMPILED) $(BIN)/python -m pytest -q -n $(FAST_JOBS) --dist worksteal -m fast $(TESTS)

# Two gates: every branch of the decision code by its own tests, and lines of the whole package by all tests, in every
# process that they start. The second takes as long as `make test` and more, so CI runs neither.
coverage: coverage-core coverage-package

# In one process, without searches and random histories: two minutes of one processor.
coverage-core: venv
	$(BIN)/python -m coverage run --source=opensvc_openha.core -m pytest -q -m "not exhaustive" \
	    tests/core tests/verify/test_invariants.py tests/verify/test_scenarios.py tests/verify/test_state_fingerprint.py
	$(BIN)/python -m coverage report --show-missing --skip-covered --fail-under=100

coverage-package: venv
	rm -rf .coverage_data
	$(BIN)/python -m coverage run --rcfile=tests/package_coverage.cfg -m pytest -n $(JOBS) --dist worksteal $(TESTS)
	$(BIN)/python -m coverage combine --quiet --rcfile=tests/package_coverage.cfg
	$(BIN)/python -m coverage report --rcfile=tests/package_coverage.cfg --skip-covered --fail-under=90

PYTHONS ?= 3.11 3.12 3.13

# A virtual environment for each; a Python that is missing is named, and fails nothing. On the PATH, or one of pyenv's.
test-pythons:
	@for version in $(PYTHONS); do \
	    python=; \
	    for found in python$$version "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$$version.*/bin/python; do \
	        if "$$found" -c '' 2>/dev/null; then python=$$found; break; fi; \
	    done; \
	    [ -n "$$python" ] || { echo "python$$version: not there"; continue; }; \
	    $(MAKE) --no-print-directory VENV=$(VENV)-$$version PYTHON=$$python venv && \
	    echo "python$$version:" && $(MAKE) --no-print-directory VENV=$(VENV)-$$version test-fast || exit 1; \
	done

# Checks nothing out: the agents are named by their source trees.
agents: venv
	@test -n "$(OPENSVC_AGENT_ROOTS)" || { echo "make agents OPENSVC_AGENT_ROOTS=DIR:DIR...: name source trees of OpenSVC agents" >&2; exit 2; }
	OPENSVC_AGENT_ROOTS="$(OPENSVC_AGENT_ROOTS)" $(BIN)/python -m pytest tests/plugin $(TESTS)

# 77 says that this machine cannot run it, with the reason on the screen.
acceptance: venv
	$(BIN)/python -m tests.acceptance $(ACCEPTANCE) || [ $$? -eq 77 ]

lint: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports --config setup.cfg
	@$(MAKE) --no-print-directory docs

format: venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

generated: venv
	$(BIN)/python -m tests.generated

man: venv
	$(BIN)/python -m manual build/manual

# Warnings are errors, a link within the site that leads nowhere among them.
docs: venv
	$(BIN)/python -m sphinx -q -W --keep-going -n -b html -d build/docs/doctrees docs build/docs/html
	@echo "documentation: build/docs/html/index.html"

# Needs graphviz; the pictures are kept, so that nothing else does.
pictures: venv
	$(BIN)/python docs/diagrams.py
	$(BIN)/python docs/recordings.py

packages: man
	packaging/needed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[package]'
	packaging/build $(BIN)/python

# Roots of Debian are kept in PACKAGE_ROOTS for the next time.
package-test:
	packaging/needed mmdebstrap systemd-nspawn
	[ -e dist/SHA256SUMS ] || $(MAKE) packages
	$(BIN)/python -m tests.packages $(PACKAGE_TEST)

bench: venv
	$(BIN)/python -m bench.comparison $(COMPARISON)
	$(BIN)/python -m bench.heartbeats
	$(BIN)/python -m bench.takeover
	$(BIN)/python -m bench.interface_down
	$(BIN)/python -m bench.footprint
	$(BIN)/python -m bench.agent
	$(BIN)/python -m bench.busy_nodes
	$(BIN)/python -m bench.duels
	$(BIN)/python -m bench.power_devices

RUNS ?= 500000

fuzz: venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	$(BIN)/python -m tests.fuzz.fuzz_formats -runs=$(RUNS) -max_len=600

DEPTH ?= 3

enumerate: venv
	$(BIN)/python -m opensvc_openha.verify.exhaustive.model_checker --depth $(DEPTH) $(WORLDS)
	$(BIN)/python -m opensvc_openha.verify.exhaustive.plan_checker --depth $(DEPTH)
	$(BIN)/python -m opensvc_openha.verify.random.duels

EVERY ?= 1

mutants: venv
	$(BIN)/python -m tests.mutants --every $(EVERY) $(MUTANTS)

clean:
	rm -rf $(VENV) $(VENV)-3.* build docs/commands dist *.egg-info .mutants .mypy_cache .pytest_cache .import_linter_cache .ruff_cache .hypothesis .coverage .coverage_data
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
