"""Patterns of the policy file: each stands for itself, but every * for anything. Pure."""

import re
from functools import lru_cache


@lru_cache(maxsize=1024)
def glob(pattern: str) -> re.Pattern[str]:
    """*pattern* as a regular expression that a whole text must match."""
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)
