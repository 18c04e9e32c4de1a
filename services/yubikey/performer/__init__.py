"""Performers of the effects of `core`, on real and virtual devices."""
