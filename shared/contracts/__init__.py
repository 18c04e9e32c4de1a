"""The published language: every command and event that crosses a service boundary.

A module here is owned by the service of its name; the others only read it.
"""
