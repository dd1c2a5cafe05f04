"""Experiments that compare recipes at equal training cost."""
