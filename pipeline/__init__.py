"""The pipeline: settings, graph, ways to run it, and the command line."""
