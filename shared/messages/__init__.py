"""Messages on the wire: subjects, headers, envelopes, ids, the catalog, and the permissions that follow from it."""
