"""Speed: every way to both embeddings, side by side in one run, round by round."""
