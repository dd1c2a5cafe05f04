"""Two real runs side by side, in the terminal and as a page."""

import json
from pathlib import Path

from doubles import browser
from doubles.local_runs import LocalRuns

from pipeline.runs.workspace import Workspace


def _ids(runs: LocalRuns) -> list[str]:
    return [record.run_id for record in Workspace(runs.root).records()]


def test_runs_differ_in_what_was_changed(two_models: LocalRuns) -> None:
    ids = _ids(two_models)
    done = two_models.call("compare", *ids, "--json", name=None)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["runs"] == ids
    assert found["Configuration"] == {"trainer.seed": ["1", "2"]}
    assert found["Result"]["result"] == ["pushed", "pushed"]
    assert found["Result"]["version"] == [str(version) for version in two_models.versions]
    first, second = found["Data and code"]["data, sha256"]
    assert first == second and len(first) == 12
    outcome = two_models.last.outcome
    assert outcome is not None
    assert found["Accuracy"]["accuracy"][1] == f"{outcome.accuracy:.4f}"
    trainer, transform = (found["Seconds"][name] for name in ("Trainer", "Transform"))
    assert "(cached)" not in trainer[1] and transform[1].endswith("(cached)")


def test_the_table_names_runs_by_the_beginning_of_their_ids(two_models: LocalRuns) -> None:
    first, second = _ids(two_models)
    length = next(n for n in range(len(first)) if first[:n] != second[:n])
    done = two_models.call("compare", first[:length], second[:length], name=None)
    assert done.returncode == 0, done.stderr
    assert first in done.stdout and second in done.stdout
    ambiguous = two_models.call("compare", first[:3], second, name=None)
    assert ambiguous.returncode == 1
    assert f"contains 2 runs that begin with {first[:3]}; `mnist-tfx status" in ambiguous.stderr
    unknown = two_models.call("compare", "x", second, name=None)
    assert "contains no run x; `mnist-tfx status" in unknown.stderr
    one = two_models.call("compare", first, name=None)
    assert (one.returncode, one.stderr) == (
        2,
        "mnist-tfx: compare: expected at least two runs.\n",
    )


def test_the_page_has_no_errors_in_a_browser(two_models: LocalRuns, chromium: str) -> None:
    done = two_models.call("report", "--compare", *_ids(two_models), name=None)
    assert (done.returncode, done.stderr) == (0, "")
    path = Path(done.stdout.strip())
    for size in (browser.DESKTOP, browser.PHONE):
        seen = browser.look(chromium, path, size)
        assert seen.problems == []
        assert seen.width_px == size[0]
    assert seen.title == "Comparison of 2 runs"
    assert "trainer.seed\t1\t2" in seen.text
