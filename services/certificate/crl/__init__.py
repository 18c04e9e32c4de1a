"""Certificate revocation lists (RFC 5280, 5) of one issuer.

Their state is a part of the issuer's certificate aggregate, which owns the commands and the events. This package
decides on facts about the issuer and on that state; it does not know the aggregate.
"""
