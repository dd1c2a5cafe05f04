"""Names that several modules share: nodes, splits, artifact properties. Standard library only."""
