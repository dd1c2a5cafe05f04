"""Fixtures of the tests of pages."""

import pytest
from doubles import report_facts

from components.images.idx_format import ImagesAndLabels
from components.report.run_facts import RunFacts


@pytest.fixture
def facts(test_digits: ImagesAndLabels) -> RunFacts:
    """The facts of a run."""
    return report_facts.facts(test_digits)
