"""The aggregate `ssh-certificate`: OpenSSH certificates (PROTOCOL.certkeys)."""
