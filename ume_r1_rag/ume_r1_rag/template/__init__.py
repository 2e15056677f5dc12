"""The official prompt, its presets, and how an input becomes token ids."""
