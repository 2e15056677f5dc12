"""MMEB: its tasks, its data, and how a model does on it."""
