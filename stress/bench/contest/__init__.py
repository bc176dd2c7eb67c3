"""Libraries side by side: each measurement in a process of its own, in turns."""
