"""The wire's grammar: subjects, headers, envelopes, ids, the catalog, and the permissions that follow from it."""
