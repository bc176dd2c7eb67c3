"""Caches, held against each other."""
