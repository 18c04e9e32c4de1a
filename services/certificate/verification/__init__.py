"""Path validation (RFC 5280, 6): tells whether a certificate was, is or will be valid at an instant.

`path_building` searches for paths, `path_validation` checks a whole one. `certificate_checks`, `certificate_policies`,
`name_constraints` and `crl_checks` hold the rules. `status_log` and `performer` are the edge; all else is pure. The
package shares no code with issuance, whose certificates it checks (docs/adr/0015-path-validation.md).
"""
