"""The model and its features: what is trained, and what is exported to be served."""
