"""Runtimes that can be compared: warm-up, interleaved rounds, what interferes."""
