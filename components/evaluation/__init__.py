"""The evaluation: slices, metrics, gates, and reading TFMA's results."""
