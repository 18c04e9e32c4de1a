# pcscd, the daemon that opens USB devices, for pods with YubiKeys:  docker build -f deploy/images/pcscd.Dockerfile -t cim-keys-pcscd .
# A container of its own: it gets the device, and the service gets only its socket (docs/adr/0025).
ARG DEBIAN=docker.io/library/debian:bookworm-slim
FROM ${DEBIAN}
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends pcscd libccid > /dev/null && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 cim-keys && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /run/pcscd cim-keys
USER 10001:10001
# Bookworm's pcscd is built without polkit: any process with the socket may use the devices, here only the service.
ENTRYPOINT ["/usr/sbin/pcscd", "--foreground"]
