"""Models and versions: configuration, loading, warm-up, life cycle."""
