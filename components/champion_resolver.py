"""ChampionResolver: resolves the model that a new one is compared with.

TFX's LatestBlessedModelStrategy would pass a model that was blessed in the last run to the
Evaluator as its own champion: an unchanged second run would evaluate and push the same model
again. Here the candidate is excluded, so that an unchanged run resolves unchanged inputs and is
cached. The champion is the newest *pushed* model that is still in the serving folder. After a
roll-back that is the version that is served again.
"""

from __future__ import annotations

import posixpath
from pathlib import Path

import ml_metadata as mlmd
from absl import logging
from tfx.dsl.components.common import resolver
from tfx.dsl.input_resolution.strategies import latest_blessed_model_strategy
from tfx.dsl.io import fileio
from tfx.types import Channel
from tfx.types.artifact import Artifact
from tfx.types.channel import BaseChannel
from tfx.types.standard_artifacts import Model, ModelBlessing, PushedModel
from tfx.utils import io_utils, path_utils

from components.names import artifact_properties as properties
from components.names.node_ids import NodeId
from serving import version_folders

MODEL, PUSHED_MODEL, CANDIDATE = "model", "pushed_model", "candidate"


def served_model(candidate: BaseChannel) -> resolver.Resolver:
    """The node that resolves the champion of `candidate`; its output MODEL may be empty."""
    channels = {
        MODEL: Channel(Model, producer_component_id=NodeId.TRAINER),
        PUSHED_MODEL: Channel(PushedModel, producer_component_id=NodeId.ATOMIC_PUSHER),
        CANDIDATE: candidate,
    }
    return resolver.Resolver(strategy_class=ChampionStrategy, **channels).with_id(
        NodeId.CHAMPION_RESOLVER
    )


def latest_blessed_model(candidate: BaseChannel) -> resolver.Resolver:
    """TFX's own choice, for Vertex AI, which takes no custom strategy.

    It ignores the candidate, and may choose it.
    """
    return resolver.Resolver(
        strategy_class=latest_blessed_model_strategy.LatestBlessedModelStrategy,
        model=Channel(type=Model),
        model_blessing=Channel(type=ModelBlessing),
    ).with_id(NodeId.CHAMPION_RESOLVER)


class ChampionStrategy(resolver.ResolverStrategy):  # type: ignore[misc]
    """Chooses the newest pushed model that is not the candidate; nothing if there is none.

    A version whose folder is gone was rolled back or removed. A model whose own folder is gone is
    restored from the pushed version, which has the same files and a warm-up file; if that version
    is damaged, an earlier one is chosen. The channels are
    MODEL (all models of the pipeline), PUSHED_MODEL (all results of AtomicPusher) and CANDIDATE
    (the model of this run).
    """

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[Artifact]]
    ) -> dict[str, list[Artifact]]:
        """TFX's entry point: chooses from the artifacts of each channel, newest version first."""
        candidates = {artifact.id for artifact in input_dict[CANDIDATE]}
        models = {artifact.id: artifact for artifact in input_dict[MODEL]}
        pushes = [
            push
            for push in input_dict[PUSHED_MODEL]
            if push.get_int_custom_property(properties.PUSHED)
        ]
        pushes.sort(
            key=lambda push: -int(push.get_string_custom_property(properties.PUSHED_VERSION))
        )
        for push in pushes:
            model_id = push.get_int_custom_property(properties.MODEL_ID)
            if model_id not in models or model_id in candidates:
                continue
            destination = push.get_string_custom_property(properties.PUSHED_DESTINATION)
            if fileio.exists(destination) and _is_available(models[model_id].uri, push):
                return {MODEL: [models[model_id]], PUSHED_MODEL: [push], CANDIDATE: []}
        return {MODEL: [], PUSHED_MODEL: [], CANDIDATE: []}


def _is_available(model: str, push: Artifact) -> bool:
    """Whether a Model has its SavedModel; if not, it is restored from the pushed version."""
    saved_model = path_utils.serving_model_path(model)
    if fileio.exists(saved_model):
        return True
    version = push.get_string_custom_property(properties.PUSHED_DESTINATION)
    digest = push.get_string_custom_property(properties.PUSHED_DIGEST)
    if digest and version_folders.digest(Path(version)) != digest:
        logging.warning("%s is gone, and %s is damaged.", saved_model, version)
        return False
    logging.warning("%s is gone; it is restored from %s.", saved_model, version)
    complete = f"{model.rstrip('/')}.restoring"
    if fileio.exists(complete):
        fileio.rmtree(complete)
    io_utils.copy_dir(version, complete)
    fileio.makedirs(posixpath.dirname(saved_model))
    fileio.rename(complete, saved_model)
    return True
