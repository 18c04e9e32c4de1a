"""Names in certificates: distinguished names, general names, and name constraints."""
