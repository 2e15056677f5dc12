"""Ingestion beside its model: how much of the time passes outside of it."""
