"""The whole pipeline as one graph, independent of the runner: folders are passed in."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from ml_metadata.proto import metadata_store_pb2
from tfx.components.evaluator.component import Evaluator
from tfx.components.statistics_gen.component import StatisticsGen
from tfx.components.trainer.component import Trainer
from tfx.components.transform.component import Transform
from tfx.dsl.components.common.resolver import Resolver
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import pusher_pb2, trainer_pb2, transform_pb2
from tfx.types.channel import BaseChannel

from components import accepted_spans, atomic_pusher, champion_resolver
from components.accepted_spans import Spans
from components.atomic_pusher import AtomicPusher
from components.corrupted_examples import CorruptedExamples
from components.curated_schema import CuratedSchema
from components.evaluation import example_groups, group_metrics
from components.idx_example_gen import IdxExampleGen
from components.names.node_ids import NodeId
from components.names.splits import CORRUPTED, EVAL, TEST, TRAIN
from components.run_report import ReportChannels, RunReport
from components.server_validator import ServerValidator
from pipeline.graph import data_gates, eval_config
from pipeline.graph.code_digest import SourceTree
from pipeline.settings.pipeline_config import PipelineConfig
from trainer import preprocessing, run


@dataclass(frozen=True)
class Folders:
    """Where a run reads and writes; each runner has its own."""

    data: str | RuntimeParameter
    """The folder with the four IDX files."""

    artifacts: str
    """The pipeline root: a folder for each component."""

    serving: str
    """The folder that a model server polls: a sub-folder for each version."""


def create_pipeline(
    config: PipelineConfig,
    folders: Folders,
    beam_args: list[str] | None = None,
    metadata: metadata_store_pb2.ConnectionConfig | None = None,
    find_champion: Callable[[BaseChannel], Resolver] = champion_resolver.served_model,
    find_spans: Callable[[BaseChannel, BaseChannel, int], Spans] = accepted_spans.accepted,
) -> Pipeline:
    """The graph, from IDX files to a pushed model.

    Args:
      config: the configuration.
      folders: where to read and write.
      beam_args: options of the components' Beam jobs. They are part of the cache key.
      metadata: the metadata store, if the runner takes it from the pipeline.
      find_champion: creates the node that resolves the champion of a candidate.
      find_spans: creates the node that resolves the data of other spans, from this run's
        examples, their statistics, and the number of spans to train on.
    """
    sources = SourceTree()
    example_gen = IdxExampleGen(
        input_base=folders.data,
        eval_fraction=config.data.eval_fraction,
        span=config.data.chosen_span,
        span_folder=config.data.span_folder,
        code_digest=sources.digest_of(IdxExampleGen.__module__),
    ).with_id(NodeId.IDX_EXAMPLE_GEN)
    examples = example_gen.outputs["examples"]
    schema = CuratedSchema(
        schema_text=config.validation.schema_text,
        class_balance_json=json.dumps(config.validation.class_balance),
        code_digest=sources.digest_of(CuratedSchema.__module__),
    ).with_id(NodeId.CURATED_SCHEMA)
    statistics_gen = StatisticsGen(examples=examples, schema=schema.outputs["schema"]).with_id(
        NodeId.STATISTICS_GEN
    )
    statistics = statistics_gen.outputs["statistics"]
    spans = find_spans(examples, statistics, config.data.train_spans)
    gates = data_gates.create(
        config.validation,
        sources,
        examples=examples,
        statistics=statistics,
        schema=schema.outputs["schema"],
        class_balance=schema.outputs["baseline"],
        spans=spans,
    )
    transform = Transform(
        examples=spans.window,
        schema=schema.outputs["schema"],
        preprocessing_fn=f"{preprocessing.__name__}.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(analyze=[TRAIN]),
        materialize=False,  # the Trainer applies the graph as it reads
        disable_statistics=True,
        custom_config={"code_digest": sources.digest_of(preprocessing.__name__)},
    ).with_id(NodeId.TRANSFORM)
    transform.add_upstream_node(gates.gate)
    trainer = Trainer(
        run_fn=f"{run.__name__}.run_fn",
        examples=spans.window,
        transform_graph=transform.outputs["transform_graph"],
        schema=schema.outputs["schema"],
        train_args=trainer_pb2.TrainArgs(splits=[TRAIN]),
        eval_args=trainer_pb2.EvalArgs(splits=[EVAL]),
        custom_config={
            run.HPARAMS: config.trainer.model_dump_json(),
            "code_digest": sources.digest_of(run.__name__),
        },
    ).with_id(NodeId.TRAINER)
    model = trainer.outputs["model"]
    champion = find_champion(model)
    corrupted = CorruptedExamples(
        examples=examples,
        images=config.robustness.images,
        seed=config.robustness.seed,
        strengths_json=json.dumps(config.robustness.strengths),
        code_digest=sources.digest_of(CorruptedExamples.__module__),
    ).with_id(NodeId.CORRUPTED_EXAMPLES)
    corrupted.add_upstream_node(gates.gate)
    evaluator = Evaluator(
        examples=corrupted.outputs["corrupted"],
        example_splits=[TEST, CORRUPTED],
        model=model,
        baseline_model=champion.outputs[champion_resolver.MODEL],
        eval_config=eval_config.create(
            config.evaluation,
            config.robustness,
            sources.digest_of(example_groups.__name__, group_metrics.__name__),
        ),
        module_path=example_groups.__name__,  # TFX calls its `custom_extractors`
    ).with_id(NodeId.EVALUATOR)
    report = RunReport(
        pipeline_name=config.name,
        configuration=config.model_dump_json(exclude={"serving", "beam"}),  # not in the report
        gates_off=",".join(config.gates_off()),
        code_digest=sources.digest_of_everything(),
        channels=ReportChannels(
            examples=examples,
            window=spans.window,
            reference=spans.reference,
            statistics=statistics,
            anomalies=gates.anomalies,
            model=model,
            model_run=trainer.outputs["model_run"],
            evaluation=evaluator.outputs["evaluation"],
            blessing=evaluator.outputs["blessing"],
        ),
    ).with_id(NodeId.RUN_REPORT)
    server_validator = ServerValidator(
        model=model,
        examples=examples,
        requests=config.serving.validation_requests,
        max_latency_ms=config.serving.max_latency_ms,
        server=config.serving.server,
        code_digest=sources.digest_of(ServerValidator.__module__),
    ).with_id(NodeId.SERVER_VALIDATOR)
    pusher = AtomicPusher(
        model=model,
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=server_validator.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=folders.serving)
        ),
        custom_config={
            atomic_pusher.KEEP_VERSIONS: config.serving.keep_versions,
            "code_digest": sources.digest_of(AtomicPusher.__module__),
        },
    ).with_id(NodeId.ATOMIC_PUSHER)
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=folders.artifacts,
        components=[
            example_gen,
            schema,
            statistics_gen,
            *spans.nodes,
            *gates.validators,
            gates.gate,
            transform,
            trainer,
            champion,
            corrupted,
            evaluator,
            report,
            server_validator,
            pusher,
        ],
        enable_cache=True,
        metadata_connection_config=metadata,
        beam_pipeline_args=beam_args or [],
    )
