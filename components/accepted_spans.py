"""Which data is trained on beside this run's, and what this run's is compared with.

Data comes in spans; a span may come again in another version. AnomalyGate marks what it lets
pass. From these marks the resolver takes

  * WINDOW: this run's examples, preceded by those of accepted earlier spans, so that all
    together are of `train_spans` spans (TFX's SpanRangeStrategy goes by the number alone, and
    would train on a span that was refused);
  * REFERENCE and REFERENCE_STATISTICS: the examples that were accepted last, of an earlier span
    or another version of this one. The first data there is, is compared with itself.

So an unchanged run finds unchanged inputs, and is cached.
"""

from __future__ import annotations

from typing import NamedTuple

import ml_metadata as mlmd
from tfx.components.example_gen import utils
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common import resolver
from tfx.dsl.io import fileio
from tfx.types import Channel
from tfx.types.artifact import Artifact
from tfx.types.channel import BaseChannel
from tfx.types.standard_artifacts import ExampleAnomalies, Examples, ExampleStatistics

from components.anomaly_gate import EXAMPLES_ID, IS_NEW_NORMAL, STATISTICS_ID

WINDOW, REFERENCE, REFERENCE_STATISTICS = "window", "reference", "reference_statistics"
CURRENT, CURRENT_STATISTICS = "current", "current_statistics"
ACCEPTANCES = "acceptances"
NODE_ID = "AcceptedSpans"


class Spans(NamedTuple):
    """What a graph is given."""

    nodes: list[BaseNode]
    window: BaseChannel
    reference: BaseChannel
    reference_statistics: BaseChannel


def accepted(examples: BaseChannel, statistics: BaseChannel, train_spans: int) -> Spans:
    """Found in the metadata store, by a node of its own."""
    node = resolver.Resolver(
        strategy_class=AcceptedSpansStrategy,
        config={"train_spans": train_spans},
        **{
            WINDOW: Channel(type=Examples),
            REFERENCE: Channel(type=Examples),
            REFERENCE_STATISTICS: Channel(type=ExampleStatistics),
            ACCEPTANCES: Channel(type=ExampleAnomalies),
            CURRENT: examples,
            CURRENT_STATISTICS: statistics,
        },
    ).with_id(NODE_ID)
    outputs = node.outputs
    return Spans([node], outputs[WINDOW], outputs[REFERENCE], outputs[REFERENCE_STATISTICS])


def only_this_one(examples: BaseChannel, statistics: BaseChannel, train_spans: int) -> Spans:
    """For orchestrators that take no strategy of ours: Vertex AI. There is no drift then."""
    return Spans([], examples, examples, statistics)


class AcceptedSpansStrategy(resolver.ResolverStrategy):  # type: ignore[misc]
    """Resolves what the module's docstring says.

    Args:
      train_spans: how many spans WINDOW has at most.
    """

    def __init__(self, train_spans: int):
        self._train_spans = train_spans

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[Artifact]]
    ) -> dict[str, list[Artifact]]:
        """TFX's entry point: picks from what the channels have."""
        if not input_dict[CURRENT] or not input_dict[CURRENT_STATISTICS]:
            return {key: [] for key in input_dict}  # the launcher says so
        (current,), (current_statistics,) = input_dict[CURRENT], input_dict[CURRENT_STATISTICS]
        examples = {artifact.id: artifact for artifact in input_dict[WINDOW]}
        statistics = {artifact.id: artifact for artifact in input_dict[REFERENCE_STATISTICS]}
        before: list[tuple[Artifact, Artifact]] = []
        is_new_normal = False
        for acceptance in sorted(input_dict[ACCEPTANCES], key=lambda artifact: artifact.id):
            found = examples.get(acceptance.get_int_custom_property(EXAMPLES_ID))
            about = statistics.get(acceptance.get_int_custom_property(STATISTICS_ID))
            if found is None or about is None:
                continue
            if found.id == current.id:
                is_new_normal = bool(acceptance.get_int_custom_property(IS_NEW_NORMAL))
                continue
            if span(found) <= span(current) and fileio.exists(found.uri):
                before.append((found, about))
        # The newest of each earlier span, and of these the newest ones.
        earlier = {span(found): found for found, _ in before if span(found) < span(current)}
        added = [earlier[number] for number in sorted(earlier)][-self._train_spans + 1 :]
        window = [*(added if self._train_spans > 1 else []), current]
        last = (current, current_statistics)
        if before and not is_new_normal:
            last = max(before, key=lambda pair: (span(pair[0]), pair[1].id))
        reference, about = last
        return {
            WINDOW: window,
            REFERENCE: [reference],
            REFERENCE_STATISTICS: [about],
            ACCEPTANCES: [],
            CURRENT: [current],
            CURRENT_STATISTICS: [current_statistics],
        }


def span(examples: Artifact) -> int:
    """The number of the span that these examples are of; 0 where there are no spans."""
    return int(examples.get_int_custom_property(utils.SPAN_PROPERTY_NAME))
