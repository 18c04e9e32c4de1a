"""What a custodian accepts to sign: each message is parsed, and refused if its key is not for it (ADR 0012)."""
