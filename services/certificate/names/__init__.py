"""Names in certificates that this service issues: their syntax, their X.509 form, and subtrees of them.

Path validation (`verification.name_matching`, `verification.name_constraints`) compares names on its own, so that a
defect here cannot hide itself.
"""
