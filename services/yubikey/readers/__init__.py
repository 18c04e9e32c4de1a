"""Readers of this machine, and the devices found in them."""
