#!/bin/sh
# Builds every image without a Docker engine (buildah, in a chroot, on a base made of Debian's packages) and runs the suite in
# them: root file systems read-only, user 10001. Needs root; apt-get install buildah mmdebstrap. ADR 0029 has results.
set -eu
cd "$(dirname "$0")/../.."
WORK=${WORK:-$(mktemp -d)}
BASE=docker.io/library/python:3.11-slim-bookworm
IMAGES="key certificate yubikey saga repository console declare"
NATS=${NATS:-.venv/bin/nats-server}
PORT=${PORT:-14222}
export BUILDAH_ISOLATION=chroot

if ! buildah inspect --type image "$BASE" > /dev/null 2>&1; then
  mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$WORK/base.tar"
  printf 'FROM scratch\nADD base.tar /\n' > "$WORK/Basefile"
  buildah bud --quiet --pull-never -f "$WORK/Basefile" -t "$BASE" "$WORK" > /dev/null
fi
build() { # build IMAGE [BUILD ARGUMENT ...]
  image=$1; shift
  for argument in "$@"; do set -- "$@" --build-arg "$argument"; shift; done
  buildah bud --quiet --pull-never -v /etc/ssl/certs:/etc/ssl/certs:ro "$@" -t "cim-keys-$image" . > /dev/null
  echo "built cim-keys-$image"
}
for image in $IMAGES; do build "$image" SERVICE="$image"; done
build yubikey-virtual SERVICE=yubikey VIRTUAL_YUBIKEY=1
buildah bud --quiet --pull-never --build-arg DEBIAN="$BASE" -f deploy/images/pcscd.Dockerfile -t cim-keys-pcscd . > /dev/null
echo "built cim-keys-pcscd"

pids=""
stop() { # the services before the server: they finish or nak what is in flight
  for pid in $pids; do kill "$pid" 2> /dev/null || true; done
  for pid in $pids; do wait "$pid" || true; done
  kill "$nats"; wait
}
trap stop EXIT
"$NATS" -js -sd "$WORK/nats" -a 127.0.0.1 -p "$PORT" > "$WORK/nats.log" 2>&1 &
nats=$!
mkdir -p "$WORK/secrets" "$WORK/state" && chmod 700 "$WORK/secrets" "$WORK/state"
for name in key.passphrase yubikey.secret; do (umask 077; head -c 48 /dev/urandom | base64 > "$WORK/secrets/$name"); done
chown -R 10001:10001 "$WORK/secrets" "$WORK/state"

# A container gets the image's files, read-only, /secrets and /state, no privileges, and the loopback of this machine.
contained() { # (contained IMAGE [ARGUMENT ...]): in a subshell, whose process becomes the service
  root=$(buildah mount "$(buildah from --pull-never "cim-keys-$1")"); shift
  exec unshare --mount sh -euc '
    root=$1; work=$2; shift 2
    mount --bind "$root" "$root"; mount --bind "$work/secrets" "$root/secrets"; mount --bind "$work/state" "$root/state"
    mount -t tmpfs tmpfs "$root/tmp"; mount --rbind /dev "$root/dev"; mount -t proc proc "$root/proc"
    mount -o remount,bind,ro "$root"
    exec env -i PATH=/app/bin:/usr/bin:/bin:/usr/sbin PYTHONPATH=/app/src PYTHONDONTWRITEBYTECODE=1 NATS_URL='"nats://127.0.0.1:$PORT"' \
      KEY_PASSPHRASE_FILE=/secrets/key.passphrase YUBIKEY_SECRET_FILE=/secrets/yubikey.secret STATE_DIR=/state HOME=/state \
      VIRTUAL_YUBIKEYS=42000001 YUBIKEY_AGENT=tried HTTP_PORT=18080 PUBLIC_URL=http://127.0.0.1:18080 CIM_ACTOR=tester \
      chroot --userspec=10001:10001 "$root" /app/bin/service "$@"' sh "$root" "$WORK" "$@"
}
sleep 1
(contained declare)
for service in key certificate yubikey-virtual saga repository; do
  (contained "$service") > "$WORK/$service.log" 2>&1 &
  pids="$pids $!"
done
sleep 6
(contained console send saga.pki-bootstrap.start --organization Acme --root.common_name Root --root.validity_days 7300 \
  --intermediate.common_name Issuing --intermediate.validity_days 1825 --output json) > "$WORK/pki.json"
issuer=$(sed -n 's/.*"intermediate_certificate_id": *"\([^"]*\)".*/\1/p' "$WORK/pki.json" | head -1)
(contained console send saga.certificate-provisioning.start --issuer_id "$issuer" --subject.common_name Alice --purpose authentication \
  --yubikey_serial 42000001 --key_origin on-device --validity_days 365 --output json) > "$WORK/alice.json"
grep -q '"slot": *"9a"' "$WORK/alice.json"
python3 -c 'import sys, urllib.request; sys.stdout.write(urllib.request.urlopen("http://127.0.0.1:18080/bundle").read().decode()[:28])'
echo && echo "a CA, and a certificate on a (virtual) YubiKey, by the images; logs and state in $WORK"
