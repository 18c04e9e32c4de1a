# One image a service, with no code of the others:  docker build --build-arg SERVICE=key -t cim-keys-key .
# SERVICE: key, certificate, yubikey, saga, repository, console; or declare, which creates the streams.
# VIRTUAL_YUBIKEY=1 adds the simulator to the yubikey image, for development:
#   docker build --build-arg SERVICE=yubikey --build-arg VIRTUAL_YUBIKEY=1 -t cim-keys-yubikey-virtual .
# Reasons: docs/adr/0029-images.md
ARG PYTHON=docker.io/library/python:3.11-slim-bookworm

FROM ${PYTHON} AS build
ARG SERVICE
COPY deploy/images/${SERVICE}.lock requirements-pcsc.lock /build/
RUN python3 -m venv /app \
 && /app/bin/python -m pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes -r /build/${SERVICE}.lock
# pyscard (PC/SC) has no wheel: this stage compiles it, and the compiler stays in this stage.
RUN if [ "${SERVICE}" = yubikey ]; then \
      apt-get update -qq && apt-get install -qq -y --no-install-recommends gcc libc6-dev python3-dev swig libpcsclite-dev pkg-config > /dev/null \
      && /app/bin/python -m pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes -r /build/requirements-pcsc.lock; \
    fi \
 && rm -rf /app/lib/python3*/site-packages/pip /app/lib/python3*/site-packages/setuptools
ARG VIRTUAL_YUBIKEY=
COPY subjects.yaml streams.yaml /app/src/
COPY shared /app/src/shared
COPY services /build/services
COPY deploy/__init__.py deploy/declare.py deploy/upgrade.py /build/deploy/
# `declare` contains no service, each other image its own. Whatever stays in /build is not in the final stage.
RUN if [ "${SERVICE}" = declare ]; then \
      mv /build/deploy /app/src/deploy && printf '#!/bin/sh\nexec /app/bin/python -m "deploy.${1:-declare}"\n' > /app/bin/service; \
    else \
      mkdir /app/src/services && mv "/build/services/${SERVICE}" ${VIRTUAL_YUBIKEY:+/build/services/virtual_yubikey} /app/src/services/ \
      && printf '#!/bin/sh\nexec /app/bin/python -m services.%s "$@"\n' "${SERVICE}" > /app/bin/service; \
    fi \
 && chmod 755 /app/bin/service && /app/bin/python -m compileall -q /app/src

FROM ${PYTHON}
ARG SERVICE
# tini: the kernel drops signals that process 1 has no handler for, and Python has none in its first half second.
RUN apt-get update -qq \
 && apt-get install -qq -y --no-install-recommends tini $([ "${SERVICE}" != yubikey ] || echo libpcsclite1) > /dev/null \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 cim-keys && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /state cim-keys \
 && install -d -m 700 -o cim-keys -g cim-keys /state /secrets
COPY --from=build /app /app
ENV PATH=/app/bin:/usr/local/bin:/usr/bin:/bin PYTHONPATH=/app/src PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
ENTRYPOINT ["/usr/bin/tini", "--", "/app/bin/service"]
