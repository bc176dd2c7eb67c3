"""Find the race in a handler, deterministically, and show it in its smallest form."""
