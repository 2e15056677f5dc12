"""Worlds and benchmarks for UME-R1-shaped models."""
