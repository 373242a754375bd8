"""What a trainer installs: the client, and the `rolltrace` command."""
