"""The report of a run: one self-contained HTML file. `run_page.py` renders it.

The facts of a section are gathered by a module of its own, from the artifacts of the run.
"""
