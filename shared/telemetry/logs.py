"""Log of a process: text lines, or one JSON object per line (LOG_FORMAT=json)."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal

from opentelemetry import trace

from shared.telemetry.instruments import current_message


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object, with conversation and trace of the current message."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (current := current_message.get()) is not None:
            line["correlation_id"] = current.correlation_id
        if (span := trace.get_current_span().get_span_context()).is_valid:
            line |= {"trace_id": trace.format_trace_id(span.trace_id), "span_id": trace.format_span_id(span.span_id)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def log_to_stderr(service: str, log_format: Literal["text", "json"]) -> None:
    """Configures the log of the process."""
    lines = logging.Formatter(f"%(asctime)s %(levelname)s {service} %(name)s: %(message)s")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(service) if log_format == "json" else lines)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for noisy in ("yubikit", "ykman", "faststream"):  # yubikit logs whole APDUs, PINs among them, below DEBUG
        logging.getLogger(noisy).setLevel(logging.WARNING)
