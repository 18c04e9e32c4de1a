"""The fleet of yubikey processes: polling for devices, leasing them, and routing commands to the lease holder."""
