"""Training pairs: how they lie on disk, and how they are made."""
