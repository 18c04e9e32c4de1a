"""Issuance policy: the rules, the settings of each issuer, and the YAML file that an operator writes.

`rules` decides whether a request for an X.509 or SSH certificate is allowed. `issuers` holds what an issuer puts into
its certificates, CRLs and OCSP responses. `file` reads both from the policy file.
"""
