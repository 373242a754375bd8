"""How many files, and so connections, this process may have open. A shell.

A service raises its own limit to what the system lets it have: the usual 1,024 are there for programs that
use select(), and would stop a proxy at 500 calls.
"""

from __future__ import annotations

import resource
import sys
from contextlib import suppress


def raise_limit() -> int:
    """Raises the soft limit to the hard one where the system allows; returns the limit that now holds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # some systems refuse what they give as the hard limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft
