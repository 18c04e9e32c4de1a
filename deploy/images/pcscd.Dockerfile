# The daemon that has the USB devices, for pods that read YubiKeys:  docker build -f deploy/images/pcscd.Dockerfile -t cim-keys-pcscd .
# It is a container of its own so that the device goes to it, and the service gets no more than its socket (docs/adr/0025).
ARG DEBIAN=docker.io/library/debian:bookworm-slim
FROM ${DEBIAN}
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends pcscd libccid > /dev/null && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 cim-keys && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /run/pcscd cim-keys
USER 10001:10001
# Bookworm's is built without polkit: whoever has the socket may use the devices, and that is the service beside it.
ENTRYPOINT ["/usr/sbin/pcscd", "--foreground"]
