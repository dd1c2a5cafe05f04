"""Runs and their results: events, records, metadata queries, lineage, pushed versions."""
