"""How the services log: one plain line a record, on stderr, in UTC."""

from __future__ import annotations

import logging
import time
from typing import Literal

FORMAT = "%(asctime)s.%(msecs)03dZ %(levelname)-7s %(name)s: %(message)s"
DATE_FORMAT = "%Y-%m-%dT%H:%M:%S"


def configure_logging(level: Literal["debug", "info", "warning", "error"]) -> None:
    """Log what is at least as grave as `level`. A second call changes the level."""
    formatter = logging.Formatter(FORMAT, DATE_FORMAT)
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
