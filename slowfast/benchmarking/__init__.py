"""Ours beside the plain formulation, side by side in one run: what tools/benchmark.py measures."""
