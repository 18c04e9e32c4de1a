# The interface to this repository: `make` lists the targets.
# Needed: python3 (3.11 or newer) and make. Everything else is installed into .venv, pinned by hash.

PYTHON   ?= python3
VENV     := .venv
BIN      := $(VENV)/bin
MEMBERS  := shared services/key services/certificate services/yubikey services/virtual_yubikey services/saga services/repository services/console
STAMP    := $(VENV)/.installed

MAKEFLAGS += --no-print-directory

.PHONY: help install install-pcsc virtual-yubikey demo up test check bench lock render clean

help:
	@echo "make demo    bootstraps a CA, puts a certificate onto a (virtual) YubiKey, and rolls one provisioning back"
	@echo "make up      runs the server and the five services in the foreground; variables:"
	@echo "             NATS_PORT, HTTP_PORT, STATE_DIR, VIRTUAL_YUBIKEYS, NATS_SECURED=1, NATS_OPERATOR=DIR, NATS_TLS=DIR; NATS_URL, STREAM_REPLICAS"
	@echo "make virtual-yubikey    opens a shell in which ykman and other tools see a virtual YubiKey in a reader (root, Debian packages)"
	@echo "make test    runs every check and every test, as CI does"
	@echo "make bench   runs the benchmarks; writes bench-results/latest.json"
	@echo "make check   checks formatting, lint, types and layers (part of make test)"
	@echo "make render  writes the generated files: AsyncAPI, saga diagrams, the dashboard, NACK's streams"
	@echo "make lock    pins the newest packages (needs uv)"
	@echo "make clean   removes what make has made, except the state of make up"

install: $(STAMP)

$(STAMP): requirements.lock pyproject.toml $(MEMBERS:%=%/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; this is " + sys.version)'
	@echo "installing into $(VENV)" >&2
	@$(PYTHON) -m venv $(VENV) || { echo "python3 needs its venv module (Debian: python3-venv)"; exit 1; }
	@# --no-deps: the lock is complete except for pyscard, which only machines with readers need (docs/adr/0008)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index $(MEMBERS:%=-e ./%)
	@touch $@

# pyscard (PC/SC) has no wheel: building it needs gcc, swig and libpcsclite-dev (docs/adr/0008)
install-pcsc: install
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-pcsc.lock

virtual-yubikey: install-pcsc
	@exec $(BIN)/python -m deploy.virtual_yubikey

demo: install
	@exec $(BIN)/python -m deploy.demo

up: install
	@exec $(BIN)/python -m deploy.up

test: check
	@# Three workers for two cores: a third of the time, tests wait (elections, kills, timers). Files in their order: the longest come first.
	@$(BIN)/python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder

check: install
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache > $(VENV)/lint-imports.log || { cat $(VENV)/lint-imports.log; exit 1; }

bench: install
	@exec $(BIN)/python -m tests.bench

render: install
	@$(BIN)/python -m deploy.render
	@$(BIN)/python -m deploy.settings_page
	@$(BIN)/python -m services.saga.diagrams > docs/sagas.md
	@$(BIN)/python -m deploy.monitoring.dashboard
	@$(BIN)/python -m deploy.kubernetes.nack

lock:
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --unsafe-package pyscard --upgrade -o requirements.lock
	@$(BIN)/python -m deploy.images.lock

clean:
	rm -rf $(VENV) demo-output bench-results
