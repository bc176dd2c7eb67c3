"""What tests and benchmarks share: harnesses, never test cases."""
