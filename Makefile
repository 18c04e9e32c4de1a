# The only interface to this repository: `make` says what there is.
# Needed: python3 (3.11 or newer) and make. Everything else is installed into .venv, pinned by hash.

PYTHON   ?= python3
VENV     := .venv
BIN      := $(VENV)/bin
MEMBERS  := shared services/key services/certificate services/yubikey services/virtual_yubikey services/saga services/repository services/console
STAMP    := $(VENV)/.installed

MAKEFLAGS += --no-print-directory

.PHONY: help install install-pcsc virtual-yubikey demo up test check bench lock render clean

help:
	@echo "make demo    a CA and a certificate on a (virtual) YubiKey from nothing, and one provisioning undone"
	@echo "make up      the server and the five services in the foreground (NATS_PORT, HTTP_PORT, STATE_DIR, VIRTUAL_YUBIKEYS, NATS_SECURED=1, NATS_OPERATOR=DIR, NATS_TLS=DIR; NATS_URL, STREAM_REPLICAS)"
	@echo "make virtual-yubikey    a shell in which ykman and others see a virtual YubiKey in a reader (root, Debian packages)"
	@echo "make test    every check and every test; what CI runs"
	@echo "make bench   the benchmarks; leaves bench-results/latest.json"
	@echo "make check   formatting, lint, types (part of make test)"
	@echo "make render  write what is generated: pages from subjects.yaml and the saga definitions, the dashboard, NACK's streams"
	@echo "make lock    pin the newest packages again (needs uv)"
	@echo "make clean   remove what make has made; never the state of make up"

install: $(STAMP)

$(STAMP): requirements.lock pyproject.toml $(MEMBERS:%=%/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; this is " + sys.version)'
	@echo "installing into $(VENV)" >&2
	@$(PYTHON) -m venv $(VENV) || { echo "python3 needs its venv module (Debian: python3-venv)"; exit 1; }
	@# --no-deps: the lock is complete but for pyscard, which only machines with readers need (docs/adr/0008)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index $(MEMBERS:%=-e ./%)
	@touch $@

# pyscard, which talks to readers: it is built, with gcc, swig and libpcsclite-dev (docs/adr/0008)
install-pcsc: install
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-pcsc.lock

virtual-yubikey: install-pcsc
	@exec $(BIN)/python -m deploy.virtual_yubikey

demo: install
	@exec $(BIN)/python -m deploy.demo

up: install
	@exec $(BIN)/python -m deploy.up

test: check
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile

check: install
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache > $(VENV)/lint-imports.log || { cat $(VENV)/lint-imports.log; exit 1; }

bench: install
	@exec $(BIN)/python -m tests.bench

render: install
	@$(BIN)/python -m deploy.render
	@$(BIN)/python -m services.saga.diagrams > docs/sagas.md
	@$(BIN)/python -m deploy.monitoring.dashboard
	@$(BIN)/python -m deploy.kubernetes.nack

lock:
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --unsafe-package pyscard --upgrade -o requirements.lock
	@$(BIN)/python -m deploy.images.lock

clean:
	rm -rf $(VENV) demo-output bench-results
