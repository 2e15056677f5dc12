"""MMEB-V2 and MMEB-V1: the tasks as data, every parser, the protocols, and what of them is on disk."""
