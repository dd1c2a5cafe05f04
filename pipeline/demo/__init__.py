"""A local web page: draw a digit, see the answer and the feature maps, look at the workspace."""
