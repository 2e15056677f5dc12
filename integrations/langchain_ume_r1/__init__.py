"""LangChain classes for UME-R1 (filled by a later release)."""
