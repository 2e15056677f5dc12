"""MMEB: tasks, protocols and the runner, with the rows that others published."""
