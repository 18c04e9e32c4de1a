"""One open device over the PIV application (SP 800-73): sessions, authentication, slots, PINs, attestation."""
