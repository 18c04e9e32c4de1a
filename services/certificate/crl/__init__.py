"""Certificate revocation lists (RFC 5280, 5): when one is built, its content, its publication."""
