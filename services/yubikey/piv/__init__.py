"""The PIV application (SP 800-73) of one open device: sessions, authentication, slots, PINs, attestation."""
