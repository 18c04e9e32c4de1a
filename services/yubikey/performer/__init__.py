"""Performers of the effects that `core` asks for, on real and virtual devices."""
