"""What judges a run without a specification: isolation, serial equivalence, leaks and others."""
