"""Pools of threads; few functions have one of their own."""

from concurrent.futures import ThreadPoolExecutor

__all__ = ["ThreadPoolExecutor"]
