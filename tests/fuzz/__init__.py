"""Fuzzing: one set of targets, driven by hypothesis in the suite and by coverage in `make fuzz`."""
