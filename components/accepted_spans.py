"""AcceptedSpans: resolves the spans to train on, and the data that this run's is compared with.

Data arrives in spans; a span may arrive again in another version. AnomalyGate records an
acceptance for the data that it lets pass. From these acceptances the resolver chooses

  * WINDOW: the accepted examples of earlier spans, then this run's examples; `train_spans` spans
    in total at most. (TFX's SpanRangeStrategy uses the number of the span only, and would train
    on a rejected span.)
  * REFERENCE and REFERENCE_STATISTICS: the accepted examples of the highest span up to this one;
    of one span, the version that was accepted last. The first data of all is compared with itself.

An unchanged run therefore resolves unchanged inputs, and is cached.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import ml_metadata as mlmd
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common import resolver
from tfx.dsl.io import fileio
from tfx.types import Channel
from tfx.types.artifact import Artifact
from tfx.types.channel import BaseChannel
from tfx.types.standard_artifacts import ExampleAnomalies, Examples, ExampleStatistics

from components.images import example_split
from components.names import artifact_properties as properties
from components.names.node_ids import NodeId

WINDOW, REFERENCE, REFERENCE_STATISTICS = "window", "reference", "reference_statistics"
CURRENT, CURRENT_STATISTICS = "current", "current_statistics"
ACCEPTANCES = "acceptances"


class Spans(NamedTuple):
    """The resolver's node, if there is one, and the outputs that the graph uses."""

    nodes: list[BaseNode]
    window: BaseChannel
    reference: BaseChannel
    reference_statistics: BaseChannel


def accepted(examples: BaseChannel, statistics: BaseChannel, train_spans: int) -> Spans:
    """The spans that AcceptedSpansStrategy chooses from the metadata store."""
    ingested = Channel(Examples, producer_component_id=NodeId.IDX_EXAMPLE_GEN)
    node = resolver.Resolver(
        strategy_class=AcceptedSpansStrategy,
        config={"train_spans": train_spans},
        **{
            WINDOW: ingested,
            REFERENCE: ingested,
            REFERENCE_STATISTICS: Channel(
                ExampleStatistics, producer_component_id=NodeId.STATISTICS_GEN
            ),
            ACCEPTANCES: Channel(ExampleAnomalies, producer_component_id=NodeId.ANOMALY_GATE),
            CURRENT: examples,
            CURRENT_STATISTICS: statistics,
        },
    ).with_id(NodeId.ACCEPTED_SPANS)
    outputs = node.outputs
    return Spans([node], outputs[WINDOW], outputs[REFERENCE], outputs[REFERENCE_STATISTICS])


def current_only(examples: BaseChannel, statistics: BaseChannel, train_spans: int) -> Spans:
    """This run's data only, without drift: for Vertex AI, which takes no custom strategy."""
    return Spans([], examples, examples, statistics)


class Accepted(NamedTuple):
    """A data set that AnomalyGate let pass."""

    examples: Artifact
    statistics: Artifact
    is_new_normal: bool


class AcceptedSpansStrategy(resolver.ResolverStrategy):  # type: ignore[misc]
    """Chooses the window and the reference; the module's docstring says how.

    Args:
      train_spans: the maximum number of spans in WINDOW.
    """

    def __init__(self, train_spans: int):
        self._train_spans = train_spans

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[Artifact]]
    ) -> dict[str, list[Artifact]]:
        """TFX's entry point: chooses from the artifacts of each channel."""
        if not input_dict[CURRENT] or not input_dict[CURRENT_STATISTICS]:
            return {key: [] for key in input_dict}  # the launcher reports the missing input
        (current,), (statistics,) = input_dict[CURRENT], input_dict[CURRENT_STATISTICS]
        known = list(_accepted(input_dict))
        own = [data for data in known if data.examples.id == current.id]
        earlier = [
            data
            for data in known
            if data.examples.id != current.id
            and example_split.span(data.examples) <= example_split.span(current)
            and fileio.exists(data.examples.uri)
        ]
        reference = Accepted(current, statistics, is_new_normal=False)
        comparable = [data for data in earlier if fileio.exists(data.statistics.uri)]
        if comparable and not (own and own[-1].is_new_normal):
            reference = max(
                comparable, key=lambda data: (example_split.span(data.examples), data.statistics.id)
            )
        return {
            WINDOW: [*_last_spans(earlier, current, self._train_spans - 1), current],
            REFERENCE: [reference.examples],
            REFERENCE_STATISTICS: [reference.statistics],
            ACCEPTANCES: [],
            CURRENT: [current],
            CURRENT_STATISTICS: [statistics],
        }


def _accepted(inputs: Mapping[str, Sequence[Artifact]]) -> Iterator[Accepted]:
    """The accepted data sets whose artifacts still exist, in the order of acceptance."""
    examples = {artifact.id: artifact for artifact in inputs[WINDOW]}
    statistics = {artifact.id: artifact for artifact in inputs[REFERENCE_STATISTICS]}
    for acceptance in sorted(inputs[ACCEPTANCES], key=lambda artifact: artifact.id):
        examples_id = acceptance.get_int_custom_property(properties.EXAMPLES_ID)
        statistics_id = acceptance.get_int_custom_property(properties.STATISTICS_ID)
        if examples_id in examples and statistics_id in statistics:
            yield Accepted(
                examples[examples_id],
                statistics[statistics_id],
                bool(acceptance.get_int_custom_property(properties.IS_NEW_NORMAL)),
            )


def _last_spans(earlier: Sequence[Accepted], current: Artifact, count: int) -> list[Artifact]:
    """The examples of the `count` last spans before the current one, oldest first.

    Of a span that was accepted several times, the newest examples.
    """
    newest = {
        example_split.span(data.examples): data.examples
        for data in earlier
        if example_split.span(data.examples) < example_split.span(current)
    }
    return [newest[number] for number in sorted(newest)[len(newest) - min(count, len(newest)) :]]
