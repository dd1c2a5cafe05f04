"""The whole pipeline as one graph. It knows no runner: paths and places come in from outside."""

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

from components import accepted_spans, atomic_pusher, champion
from components.accepted_spans import Spans
from components.atomic_pusher import AtomicPusher
from components.corrupted_examples import CORRUPTED, CorruptedExamples
from components.curated_schema import CuratedSchema
from components.idx_example_gen import EVAL, TEST, TRAIN, IdxExampleGen
from components.run_report import RunReport
from components.server_validator import ServerValidator
from pipeline import code_digest, data_gates, evaluation
from pipeline.config import PipelineConfig
from trainer import run


@dataclass(frozen=True)
class Places:
    """Where a run reads and writes; each runner has its own."""

    data: str | RuntimeParameter  # the folder with the four IDX files
    artifacts: str  # the pipeline root: one folder for each component
    serving: str  # the folder that a model server polls: one sub-folder for each version


def create_pipeline(
    config: PipelineConfig,
    places: Places,
    beam_args: list[str] | None = None,
    metadata: metadata_store_pb2.ConnectionConfig | None = None,
    find_champion: Callable[[BaseChannel], Resolver] = champion.served_model,
    find_spans: Callable[[BaseChannel, BaseChannel, int], Spans] = accepted_spans.accepted,
) -> Pipeline:
    """The graph, from IDX files to a pushed model.

    Args:
      config: what to do.
      places: where.
      beam_args: options of the Beam jobs within components. They are in the cache key.
      metadata: the store to connect to, where the runner takes it from the pipeline.
      find_champion: makes the node that finds the model to beat; gets the candidate.
      find_spans: makes the node that finds the data of other spans; gets this run's examples,
        their statistics, and how many spans to train on.
    """
    example_gen = IdxExampleGen(
        input_base=places.data,
        eval_fraction=config.data.eval_fraction,
        span=None if config.data.span == "none" else config.data.span,
        span_folder=config.data.span_folder,
        code_digest=code_digest.of_modules(
            "components.idx_example_gen", "components.idx_format", "trainer.features"
        ),
    )
    schema = CuratedSchema(
        schema_text=config.validation.schema_text,
        class_balance_json=json.dumps(config.validation.class_balance),
        code_digest=code_digest.of_modules("components.curated_schema", "trainer.features"),
    )
    statistics = StatisticsGen(
        examples=example_gen.outputs["examples"], schema=schema.outputs["schema"]
    )
    spans = find_spans(
        example_gen.outputs["examples"], statistics.outputs["statistics"], config.data.train_spans
    )
    gates = data_gates.create(
        config.validation,
        examples=example_gen.outputs["examples"],
        statistics=statistics.outputs["statistics"],
        schema=schema.outputs["schema"],
        class_balance=schema.outputs["baseline"],
        spans=spans,
    )
    transform = Transform(
        examples=spans.window,
        schema=schema.outputs["schema"],
        preprocessing_fn="trainer.preprocessing.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(analyze=[TRAIN], transform=[TRAIN, EVAL]),
        disable_statistics=True,
        custom_config={
            "code_digest": code_digest.of_modules("trainer.preprocessing", "trainer.features")
        },
    )
    transform.add_upstream_node(gates.gate)
    trainer = Trainer(
        run_fn="trainer.run.run_fn",
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema.outputs["schema"],
        train_args=trainer_pb2.TrainArgs(splits=[TRAIN]),
        eval_args=trainer_pb2.EvalArgs(splits=[EVAL]),
        custom_config={
            run.HPARAMS: config.trainer.model_dump_json(),
            "code_digest": code_digest.of_modules("trainer"),
        },
    )
    champion_resolver = find_champion(trainer.outputs["model"])
    corrupted = CorruptedExamples(
        examples=example_gen.outputs["examples"],
        images=config.robustness.images,
        seed=config.robustness.seed,
        strengths_json=json.dumps(config.robustness.strengths),
        code_digest=code_digest.of_modules(
            "components.corrupted_examples",
            "components.corruptions",
            "components.ingested",
            "trainer.features",
        ),
    )
    corrupted.add_upstream_node(gates.gate)
    evaluator = Evaluator(
        examples=corrupted.outputs["corrupted"],
        example_splits=[TEST, CORRUPTED],
        model=trainer.outputs["model"],
        baseline_model=champion_resolver.outputs[champion.MODEL],
        eval_config=evaluation.eval_config(config.evaluation, config.robustness),
    )
    report = RunReport(
        pipeline_name=config.name,
        configuration=config.model_dump_json(exclude={"serving"}),  # it comes after the report
        code_digest=code_digest.of_everything(),
        examples=example_gen.outputs["examples"],
        window=spans.window,
        reference=spans.reference,
        statistics=statistics.outputs["statistics"],
        anomalies=gates.anomalies,
        model=trainer.outputs["model"],
        model_run=trainer.outputs["model_run"],
        evaluation=evaluator.outputs["evaluation"],
        blessing=evaluator.outputs["blessing"],
    )
    server_validator = ServerValidator(
        model=trainer.outputs["model"],
        examples=example_gen.outputs["examples"],
        requests=config.serving.validation_requests,
        max_latency_ms=config.serving.max_latency_ms,
        server=config.serving.server,
        code_digest=code_digest.of_modules(
            "components.server_validator",
            "components.ingested",
            "serving",
            "serving.server",
            "trainer.features",
        ),
    )
    pusher = AtomicPusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=server_validator.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=places.serving)
        ),
        custom_config={
            atomic_pusher.KEEP_VERSIONS: config.serving.keep_versions,
            "code_digest": code_digest.of_modules(
                "components.atomic_pusher", "serving.version_folders"
            ),
        },
    )
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=places.artifacts,
        components=[
            example_gen,
            schema,
            statistics,
            *spans.nodes,
            *gates.validators,
            gates.gate,
            transform,
            trainer,
            champion_resolver,
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
