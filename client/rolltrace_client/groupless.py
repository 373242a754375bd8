"""Whether a command line without a group means `rolltrace up`: flags alone start the pair. Pure, and without
gRPC, since `up` does without it.

A line means `up` when a flag comes before any group that is none of the command's own. Those that both know
(TLS) decide nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

VALUED = frozenset({"--control", "--token-file", "--tls-ca-file", "--tls-cert-file", "--tls-key-file"})
PLAIN = frozenset({"--tls", "--json", "--version", "--help", "-h"})
SHARED = frozenset({"--tls-cert-file", "--tls-key-file"})
"""What `up` takes too."""


def means_up(argv: Sequence[str]) -> bool:
    """Whether the settings of `rolltrace up` are meant by these arguments."""
    own, rest = False, list(argv)
    while rest:
        name, equals, _ = rest.pop(0).partition("=")
        if not name.startswith("-"):
            return False
        if name not in VALUED | PLAIN:
            return True
        own = own or name not in SHARED
        if name in VALUED and not equals and rest:
            rest.pop(0)
    return bool(argv) and not own
