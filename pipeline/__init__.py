"""The pipeline: its configuration, its graph, the ways to run it, and the command line."""
