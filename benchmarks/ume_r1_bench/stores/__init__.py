"""The index beside plain qdrant-client: the same points, written and searched, each in its own process."""
