"""The commands of `rolltrace`, one file each."""
