"""Third-party tools on the virtual YubiKey, through a PC/SC reader."""

import re

from tests.support.virtual_readers import MANAGEMENT_KEY, OPENSC, beside, beside_a_yubikey

YKMAN = "ykman --log-level ERROR --device 42000001"
KEY = f"-m {MANAGEMENT_KEY}"
VERIFY = 'printf "a message" > message; openssl dgst -sha256 -verify pub.pem -signature signature message\n'


def test_ykman(tmp_path):
    said = beside_a_yubikey(
        tmp_path,
        f"""
        {YKMAN} piv keys generate {KEY} -a ECCP256 --pin-policy once 9a pub.pem
        {YKMAN} piv certificates generate {KEY} -P 123456 -s CN=Alice 9a pub.pem
        {YKMAN} piv certificates request -P 123456 -s CN=Alice 9a pub.pem request.pem
        {YKMAN} piv certificates export 9a certificate.pem
        openssl verify -CAfile certificate.pem certificate.pem
        openssl req -in request.pem -verify -noout
        {YKMAN} piv keys attest 9a attestation.pem
        {YKMAN} piv certificates export f9 device.pem
        openssl verify -partial_chain -no_check_time -CAfile device.pem attestation.pem
        {YKMAN} piv access change-pin -P 123456 -n 654321
        for wrong in 1 2 3; do {YKMAN} piv access change-pin -P 999999 -n 111111 || true; done
        {YKMAN} piv access unblock-pin -p 12345678 -n 135790
        {YKMAN} piv access change-management-key {KEY} -n {"a5" * 24}
        {YKMAN} piv keys move -m {"a5" * 24} 9a 82
        {YKMAN} piv info
        {YKMAN} piv reset -f
        {YKMAN} piv info
        """,
    )

    assert "certificate.pem: OK" in said
    assert "attestation.pem: OK" in said
    before, after = said.split("PIV version:")[1:]
    assert "82 (RETIRED1)" in before
    assert "82" not in after.replace("PIV", "")
    assert "3/3" in after


def test_ykman_brings_a_key_and_a_certificate_of_its_own(tmp_path):
    said = beside_a_yubikey(
        tmp_path,
        f"""
        openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out own.pem -subj /CN=Own -days 2 2> /dev/null
        {YKMAN} piv keys import {KEY} 9d key.pem
        {YKMAN} piv certificates import {KEY} -v -P 123456 9d own.pem
        {YKMAN} piv certificates export 9d exported.pem
        cmp own.pem exported.pem
        {YKMAN} piv objects export chuid chuid.bin
        {YKMAN} piv keys info 9d
        """,
    )

    assert "IMPORTED" in said


def test_ykman_among_three_devices(tmp_path):
    """Two devices in the slots of one reader, and a third one in another reader."""
    ykman, devices = "ykman --log-level ERROR", (42_000_001, 42_000_002, 42_000_003)
    said = beside(
        tmp_path,
        f"""
        {ykman} list
        {ykman} --device 42000002 piv access change-pin -P 123456 -n 246802
        {ykman} --device 42000003 piv keys generate {KEY} -a ECCP256 --pin-policy never 9a pub.pem
        for serial in {" ".join(map(str, devices))}; do {ykman} --device $serial piv info; done
        """,
        *(part for serial in devices for part in ("--serial", str(serial))),
    )

    listed, *infos = said.split("PIV version:")
    assert re.findall(r"Serial: (\d+)", listed) == [str(serial) for serial in devices]
    assert ["Using default PIN" in info for info in infos] == [True, False, True]
    assert ["9A (AUTHENTICATION)" in info for info in infos] == [False, False, True]


def test_yubico_piv_tool(tmp_path):
    """Firmware 5.4.3: Debian's yubico-piv-tool (2.2) authenticates only with the older default key."""
    said = beside_a_yubikey(
        tmp_path,
        f"""
        yubico-piv-tool -a generate -s 9c -A ECCP256 --pin-policy=never -o pub.pem
        openssl req -new -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=CA -days 9 2> /dev/null
        openssl req -new -newkey rsa:2048 -nodes -keyout other.key -subj /CN=Alice -out alice.csr 2> /dev/null
        openssl x509 -req -in alice.csr -force_pubkey pub.pem -CA ca.pem -CAkey ca.key -out alice.pem 2> /dev/null
        yubico-piv-tool -a import-certificate -s 9c -i alice.pem
        yubico-piv-tool -a verify-pin -P 123456 -a test-signature -s 9c -i alice.pem
        yubico-piv-tool -a attest -s 9c -o attestation.pem
        openssl x509 -in attestation.pem -noout -subject
        yubico-piv-tool -a set-chuid -a set-ccc
        yubico-piv-tool -a change-pin -P 123456 -N 654321
        for wrong in 1 2 3; do yubico-piv-tool -a verify-pin -P 999999 || true; done
        yubico-piv-tool -a unblock-pin -P 12345678 -N 123456
        yubico-piv-tool -a verify-pin -P 123456 -a pin-retries --pin-retries=5 --puk-retries=6
        yubico-piv-tool -a set-mgm-key -n {"1a" * 24}
        yubico-piv-tool --key={"1a" * 24} -a delete-certificate -s 9c
        yubico-piv-tool -a status
        for wrong in 1 2 3 4 5; do yubico-piv-tool -a verify-pin -P 999999 || true; done
        for wrong in 1 2 3 4 5 6; do yubico-piv-tool -a change-puk -P 99999999 -N 12345678 || true; done
        yubico-piv-tool -a reset
        yubico-piv-tool -a status
        """,
        "5.4.3",
    )

    assert "YubiKey PIV Attestation 9c" in said
    before, after = said.split("Serial Number:")[1:]
    assert "PIN tries left:\t5" in before
    assert "PIN tries left:\t3" in after


def test_opensc(tmp_path):
    said = beside_a_yubikey(
        tmp_path,
        f"""
        {YKMAN} piv keys generate {KEY} -a ECCP256 --pin-policy once 9a pub.pem
        {YKMAN} piv certificates generate {KEY} -P 123456 -s CN=Alice 9a pub.pem
        {YKMAN} piv keys generate {KEY} -a RSA2048 --pin-policy once 9d rsa.pem
        {YKMAN} piv certificates generate {KEY} -P 123456 -s CN=Alice 9d rsa.pem
        pkcs11="pkcs11-tool --module {OPENSC} --slot-index 0 --login --pin 123456"
        $pkcs11 --list-objects --type cert
        printf "a message" > message
        $pkcs11 --sign --id 01 --mechanism ECDSA-SHA256 --signature-format openssl -i message -o signature
        {VERIFY}
        openssl pkeyutl -encrypt -pubin -inkey rsa.pem -in message -out encrypted
        $pkcs11 --decrypt --id 03 --mechanism RSA-PKCS -i encrypted -o decrypted
        cmp message decrypted
        """,
    )

    assert "Certificate for PIV Authentication" in said
    assert "Verified OK" in said
