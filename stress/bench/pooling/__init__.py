"""Pools, held against each other with connections that go nowhere."""
