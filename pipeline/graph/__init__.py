"""The TFX graph: nodes, gates, evaluation configuration, and the digests in cache keys."""
