"""What holds for every test."""

import signal

from hypothesis import settings

# A shell starts background jobs with SIGINT ignored, and children inherit that: tests that interrupt the
# commands they start must not depend on how they were started themselves.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes on a busy machine says nothing about it.
settings.register_profile("rolltrace", deadline=None)
settings.load_profile("rolltrace")
