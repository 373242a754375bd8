"""The services as users run them: real processes, real sockets, killed without mercy."""
