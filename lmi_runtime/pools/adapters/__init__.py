"""Connections of the drivers that users have, for our pools. Each needs its driver."""
