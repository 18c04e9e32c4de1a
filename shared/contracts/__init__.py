"""The published contract: every command and event that crosses a service boundary.

The service named like a package owns its modules; other services only import them.
"""
