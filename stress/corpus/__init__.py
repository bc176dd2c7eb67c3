"""Failing schedules that are replayed in every test run, on every Python."""
