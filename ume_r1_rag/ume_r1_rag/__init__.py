"""Retrieval over pages, pictures and clips with UME-R1."""
