"""The tests mirror the parts."""
