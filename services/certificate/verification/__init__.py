"""Whether a certificate was, is or will be good at an instant: paths are built and validated here, by RFC 5280.

Nothing in it reads a clock or the world: what is known of revocations is handed in (docs/adr/0015-path-validation.md).
"""
