"""Share results between invocations: one computation a key."""
