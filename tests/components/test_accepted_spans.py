"""The data for training and the data to compare with: accepted data only."""

from pathlib import Path

import pytest
from tfx.types.artifact import Artifact
from tfx.types.standard_artifacts import ExampleAnomalies, Examples, ExampleStatistics

from components import accepted_spans
from components.accepted_spans import AcceptedSpansStrategy
from components.names import artifact_properties as properties

Span = tuple[int, int, bool]  # the id of its examples, the span's number, whether it was accepted


def _resolve(
    folder: Path,
    spans: list[Span],
    train_spans: int,
    gone: tuple[int, ...] = (),
    new_normal: tuple[int, ...] = (),
    without_statistics: tuple[int, ...] = (),
) -> tuple[list[int], int]:
    """The ids of the window and of the reference; the last span is this run's."""
    examples: list[Artifact] = []
    statistics: list[Artifact] = []
    unrelated = ExampleAnomalies()  # a validator's: it names no examples
    acceptances: list[Artifact] = [unrelated]
    for artifact_id, span, is_accepted in spans:
        found, about = Examples(), ExampleStatistics()
        found.id, about.id = artifact_id, artifact_id + 100
        found.uri = str(folder / str(artifact_id))
        about.uri = str(folder / f"statistics-{artifact_id}")
        if artifact_id not in gone:
            Path(found.uri).mkdir()
        if artifact_id not in without_statistics:
            Path(about.uri).mkdir()
        found.set_int_custom_property("span", span)
        examples.append(found)
        statistics.append(about)
        if is_accepted:
            acceptance = ExampleAnomalies()
            acceptance.id = artifact_id + 200
            acceptance.set_int_custom_property(properties.EXAMPLES_ID, found.id)
            acceptance.set_int_custom_property(properties.STATISTICS_ID, about.id)
            is_new_normal = int(artifact_id in new_normal)
            acceptance.set_int_custom_property(properties.IS_NEW_NORMAL, is_new_normal)
            acceptances.append(acceptance)
    resolved = AcceptedSpansStrategy(train_spans).resolve_artifacts(
        None,
        {
            accepted_spans.WINDOW: examples,
            accepted_spans.REFERENCE: examples,
            accepted_spans.REFERENCE_STATISTICS: statistics,
            accepted_spans.ACCEPTANCES: acceptances,
            accepted_spans.CURRENT: examples[-1:],
            accepted_spans.CURRENT_STATISTICS: statistics[-1:],
        },
    )
    (reference,) = resolved[accepted_spans.REFERENCE]
    (about,) = resolved[accepted_spans.REFERENCE_STATISTICS]
    assert about.id == reference.id + 100
    return [artifact.id for artifact in resolved[accepted_spans.WINDOW]], reference.id


@pytest.mark.parametrize(
    ("spans", "train_spans", "window", "reference"),
    [
        pytest.param([(1, 0, False)], 1, [1], 1, id="the first is compared with itself"),
        pytest.param([(1, 0, True)], 2, [1], 1, id="unchanged, it is not what came before it"),
        pytest.param([(1, 0, True), (2, 0, False)], 1, [2], 1, id="other data, without spans"),
        pytest.param([(1, 0, True), (2, 0, False)], 3, [2], 1, id="one version of a span only"),
        pytest.param([(1, 1, True), (2, 2, False)], 1, [2], 1, id="the next span"),
        pytest.param([(1, 1, True), (2, 2, False)], 2, [1, 2], 1, id="and both are trained on"),
        pytest.param(
            [(1, 1, True), (2, 2, True), (3, 3, True), (4, 4, False)],
            2,
            [3, 4],
            3,
            id="the last two",
        ),
        pytest.param(
            [(1, 1, True), (2, 2, False), (3, 3, False)],
            2,
            [1, 3],
            1,
            id="a rejected one is passed over",
        ),
        pytest.param(
            [(1, 1, True), (2, 1, True), (3, 2, False)], 2, [2, 3], 2, id="its newest version"
        ),
        pytest.param([(1, 1, True), (2, 1, False)], 2, [2], 1, id="a new version of this span"),
        pytest.param(
            [(1, 1, True), (2, 2, True), (3, 1, False)], 2, [3], 1, id="not what came after it"
        ),
    ],
)
def test_window_and_reference(
    tmp_path: Path, spans: list[Span], train_spans: int, window: list[int], reference: int
) -> None:
    assert _resolve(tmp_path, spans, train_spans) == (window, reference)


def test_deleted_examples_are_skipped(tmp_path: Path) -> None:
    spans = [(1, 1, True), (2, 2, True), (3, 3, False)]
    assert _resolve(tmp_path, spans, 3, gone=(2,)) == ([1, 3], 1)


def test_an_accepted_change_is_not_compared_with_earlier_spans(tmp_path: Path) -> None:
    spans = [(1, 0, True), (2, 0, True)]
    for name, new_normal, reference in (("a", (), 1), ("b", (2,), 2), ("c", (1,), 1)):
        (tmp_path / name).mkdir()
        found = _resolve(tmp_path / name, spans, 1, new_normal=new_normal)
        assert found == ([2], reference)


def test_deleted_statistics_are_not_compared_with(tmp_path: Path) -> None:
    spans = [(1, 1, True), (2, 2, True), (3, 3, False)]
    assert _resolve(tmp_path, spans, 3, without_statistics=(2,)) == ([1, 2, 3], 1)
