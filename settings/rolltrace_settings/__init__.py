"""Settings: one declared place, under every part that has any."""
