"""The champion: the model that was blessed last, and never the candidate itself."""

import pytest
from tfx.types.artifact import Artifact
from tfx.types.standard_artifacts import Model, ModelBlessing

from components.champion import BLESSING, CANDIDATE, MODEL, ChampionStrategy


def _model(model_id: int) -> Artifact:
    artifact = Model()
    artifact.id = model_id
    return artifact


def _blessing(blessing_id: int, model_id: int, blessed: bool = True) -> Artifact:
    artifact = ModelBlessing()
    artifact.id = blessing_id
    artifact.set_int_custom_property("current_model_id", model_id)
    artifact.set_int_custom_property("blessed", int(blessed))
    return artifact


@pytest.mark.parametrize(
    ("blessings", "candidate", "champion"),
    [
        pytest.param([], 1, None, id="the first run has none"),
        pytest.param([(11, 1, True)], 2, 1, id="the one before"),
        pytest.param([(11, 1, True)], 1, None, id="an unchanged run is not its own champion"),
        pytest.param([(11, 1, True), (12, 2, True)], 2, 1, id="unchanged, with one before"),
        pytest.param([(11, 1, True), (12, 2, False)], 3, 1, id="a refused one is passed over"),
        pytest.param([(11, 2, True), (12, 1, True)], 3, 1, id="an older model that won again"),
        pytest.param([(11, 9, True)], 2, None, id="a model that is gone"),
    ],
)
def test_which_model_is_the_champion(
    blessings: list[tuple[int, int, bool]], candidate: int, champion: int | None
) -> None:
    resolved = ChampionStrategy().resolve_artifacts(
        None,
        {
            MODEL: [_model(model_id) for model_id in (1, 2, 3)],
            BLESSING: [_blessing(*blessing) for blessing in blessings],
            CANDIDATE: [_model(candidate)],
        },
    )
    assert [model.id for model in resolved[MODEL]] == ([] if champion is None else [champion])
    assert len(resolved[BLESSING]) == len(resolved[MODEL])
