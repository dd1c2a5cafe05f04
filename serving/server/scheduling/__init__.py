"""Who runs a request on a model, and when."""
