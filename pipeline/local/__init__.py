"""Local runs with `BeamDagRunner`: data sources, the session, the worker process."""
