"""Which model a new one is compared with.

TFX's LatestBlessedModelStrategy would hand a model that was blessed a run ago to
the Evaluator as its own champion: an unchanged second run would evaluate and push
the same model again. Here the candidate is left out, so that an unchanged run finds
unchanged inputs and is cached, and the champion is the model that was *blessed* last,
not the one that was trained last: they differ once an older recipe has won again.
"""

from __future__ import annotations

import ml_metadata as mlmd
from tfx.components.evaluator import constants
from tfx.dsl.components.common import resolver
from tfx.types.artifact import Artifact

MODEL, BLESSING, CANDIDATE = "model", "model_blessing", "candidate"


class ChampionStrategy(resolver.ResolverStrategy):  # type: ignore[misc]
    """Resolves the model that was blessed last and is not the candidate; nothing if there is none.

    The channels are named by MODEL (all models of the pipeline), BLESSING (all
    blessings) and CANDIDATE (the model of this run).
    """

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[Artifact]]
    ) -> dict[str, list[Artifact]]:
        """TFX's entry point: picks from what the channels have, newest blessing first."""
        candidates = {artifact.id for artifact in input_dict[CANDIDATE]}
        models = {artifact.id: artifact for artifact in input_dict[MODEL]}
        for blessing in sorted(input_dict[BLESSING], key=lambda artifact: -artifact.id):
            model_id = blessing.get_int_custom_property(
                constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY
            )
            is_blessed = blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY)
            if is_blessed and model_id in models and model_id not in candidates:
                return {MODEL: [models[model_id]], BLESSING: [blessing], CANDIDATE: []}
        return {MODEL: [], BLESSING: [], CANDIDATE: []}
