"""Train UME-R1-shaped models: cold-start SFT."""
