"""The parts of `stress.soak`."""
