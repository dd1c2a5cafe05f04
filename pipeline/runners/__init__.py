"""The ways to run the pipeline. A runner takes the graph as data; the graph knows no runner."""
