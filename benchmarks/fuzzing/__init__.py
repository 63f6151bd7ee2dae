"""Damage to files, and what the code here makes of it; benchmarks/fuzz.py and benchmarks/soak.py use it."""
