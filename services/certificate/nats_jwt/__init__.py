"""The aggregate `nats-jwt`: JWTs of NATS operators, accounts and users."""
