"""Models behind the encoder: the protocol and its implementations."""
