"""Issuance policy: its rules, and the file that an operator writes."""
