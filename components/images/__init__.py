"""Images as data: the IDX format, ingested examples, corruptions."""
