"""Spans, metrics and logs, and their export by OpenTelemetry."""
