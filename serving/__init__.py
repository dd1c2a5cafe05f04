"""Everything between a pushed model and an answer: a model server and its client."""
