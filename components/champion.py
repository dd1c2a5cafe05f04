"""Which model a new one is compared with: the one that is served now.

TFX's LatestBlessedModelStrategy would hand a model that was blessed a run ago to
the Evaluator as its own champion: an unchanged second run would evaluate and push
the same model again. Here the candidate is left out, so that an unchanged run finds
unchanged inputs and is cached. And the champion is the model that was *pushed* last (so
it was blessed), not the one that was trained last: they differ once an older recipe is
run again. After a roll-back it is the version that is served again.
"""

from __future__ import annotations

import ml_metadata as mlmd
from tfx.dsl.components.common import resolver
from tfx.dsl.input_resolution.strategies import latest_blessed_model_strategy
from tfx.dsl.io import fileio
from tfx.types import Channel
from tfx.types.artifact import Artifact
from tfx.types.channel import BaseChannel
from tfx.types.standard_artifacts import Model, ModelBlessing, PushedModel

from components.atomic_pusher import MODEL_ID, PUSHED, PUSHED_DESTINATION, PUSHED_VERSION

MODEL, PUSHED_MODEL, CANDIDATE = "model", "pushed_model", "candidate"
NODE_ID = "ChampionResolver"


def served_model(candidate: BaseChannel) -> resolver.Resolver:
    """The node that finds the champion of `candidate`; its output MODEL is empty without one."""
    channels = {
        MODEL: Channel(type=Model),
        PUSHED_MODEL: Channel(type=PushedModel),
        CANDIDATE: candidate,
    }
    return resolver.Resolver(strategy_class=ChampionStrategy, **channels).with_id(NODE_ID)


def latest_blessed_model(candidate: BaseChannel) -> resolver.Resolver:
    """TFX's own choice, for orchestrators that take no strategy of ours: Vertex AI.

    It knows nothing of the candidate, and may find it.
    """
    return resolver.Resolver(
        strategy_class=latest_blessed_model_strategy.LatestBlessedModelStrategy,
        model=Channel(type=Model),
        model_blessing=Channel(type=ModelBlessing),
    ).with_id(NODE_ID)


class ChampionStrategy(resolver.ResolverStrategy):  # type: ignore[misc]
    """Resolves the newest pushed model that is not the candidate; nothing if there is none.

    A version that is not in its place any more was rolled back, or was removed. The
    channels are named by MODEL (all models of the pipeline), PUSHED_MODEL (all that
    AtomicPusher did) and CANDIDATE (the model of this run).
    """

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[Artifact]]
    ) -> dict[str, list[Artifact]]:
        """TFX's entry point: picks from what the channels have, newest version first."""
        candidates = {artifact.id for artifact in input_dict[CANDIDATE]}
        models = {artifact.id: artifact for artifact in input_dict[MODEL]}
        pushes = [push for push in input_dict[PUSHED_MODEL] if push.get_int_custom_property(PUSHED)]
        pushes.sort(key=lambda push: -int(push.get_string_custom_property(PUSHED_VERSION)))
        for push in pushes:
            model_id = push.get_int_custom_property(MODEL_ID)
            if model_id not in models or model_id in candidates:
                continue
            if fileio.exists(push.get_string_custom_property(PUSHED_DESTINATION)):
                return {MODEL: [models[model_id]], PUSHED_MODEL: [push], CANDIDATE: []}
        return {MODEL: [], PUSHED_MODEL: [], CANDIDATE: []}
