"""The aggregate `certificate`: X.509 certificates from issuance to their end."""
