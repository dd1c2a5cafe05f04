"""The report of a run: one HTML file with everything in it. `page.py` writes it.

A section's facts are gathered by a module of its own, from the artifacts of the run.
"""
