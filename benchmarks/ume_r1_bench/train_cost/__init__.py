"""What a training step costs, in memory and time, beside a plain loop with transformers."""
