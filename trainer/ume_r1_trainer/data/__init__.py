"""How training data is made: sampled, annotated with reasoning, filtered, and chosen for RL."""
