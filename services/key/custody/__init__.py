"""Custodian: parses each message that a key is to sign, and rejects what the key's purpose does not allow (ADR 0012).

It shares no code with the certificate service, which builds those messages: a defect there must not pass here.
"""
