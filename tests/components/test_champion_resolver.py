"""The champion is the model that was pushed last, and never the candidate itself."""

from pathlib import Path

import pytest
from tfx.types.artifact import Artifact
from tfx.types.standard_artifacts import Model, PushedModel

from components.champion_resolver import CANDIDATE, MODEL, PUSHED_MODEL, ChampionStrategy
from components.names import artifact_properties as properties
from serving import version_folders


def _model(folder: Path, model_id: int) -> Artifact:
    artifact = Model()
    artifact.id = model_id
    artifact.uri = str(folder / f"model-{model_id}")
    return artifact


def _push(folder: Path, version: int, model_id: int, pushed: bool = True) -> Artifact:
    artifact = PushedModel()
    artifact.set_int_custom_property(properties.PUSHED, int(pushed))
    if pushed:
        artifact.set_string_custom_property(properties.PUSHED_VERSION, str(version))
        artifact.set_int_custom_property(properties.MODEL_ID, model_id)
        destination = str(folder / str(version))
        artifact.set_string_custom_property(properties.PUSHED_DESTINATION, destination)
        (folder / str(version)).mkdir()
    return artifact


def _champion(folder: Path, pushes: list[Artifact], candidate: int) -> int | None:
    resolved = ChampionStrategy().resolve_artifacts(
        None,
        {
            MODEL: [_model(folder, model_id) for model_id in (1, 2, 3)],
            PUSHED_MODEL: pushes,
            CANDIDATE: [_model(folder, candidate)],
        },
    )
    assert len(resolved[PUSHED_MODEL]) == len(resolved[MODEL])
    return next((model.id for model in resolved[MODEL]), None)


@pytest.mark.parametrize(
    ("pushes", "candidate", "champion"),
    [
        pytest.param([], 1, None, id="the first run has none"),
        pytest.param([(11, 1, True)], 2, 1, id="the one before"),
        pytest.param([(11, 1, True)], 1, None, id="an unchanged run is not its own champion"),
        pytest.param([(11, 1, True), (12, 2, True)], 2, 1, id="unchanged, with one before"),
        pytest.param([(11, 1, True), (12, 2, False)], 3, 1, id="a rejected one is passed over"),
        pytest.param([(9, 2, True), (12, 1, True)], 3, 1, id="an older model that is served again"),
        pytest.param([(12, 1, True), (9, 2, True)], 3, 1, id="by number, whatever the order"),
        pytest.param([(11, 9, True)], 2, None, id="a model that is gone"),
    ],
)
def test_the_champion_of_these_pushes(
    tmp_path: Path, pushes: list[tuple[int, int, bool]], candidate: int, champion: int | None
) -> None:
    assert _champion(tmp_path, [_push(tmp_path, *push) for push in pushes], candidate) == champion


def test_after_a_roll_back_the_champion_is_the_served_model(tmp_path: Path) -> None:
    pushes = [_push(tmp_path, 11, 1), _push(tmp_path, 12, 2)]
    assert _champion(tmp_path, pushes, candidate=3) == 2
    version_folders.serve(tmp_path, 11)
    assert _champion(tmp_path, pushes, candidate=3) == 1
    version_folders.serve(tmp_path, 12)
    assert _champion(tmp_path, pushes, candidate=3) == 2


def test_a_champion_whose_files_are_gone_is_restored(tmp_path: Path) -> None:
    push = _push(tmp_path, 11, 1)
    (tmp_path / "11" / "variables").mkdir()
    (tmp_path / "11" / "variables" / "weights").write_bytes(b"weights")
    (tmp_path / "model-1.restoring").mkdir()  # a process was killed meanwhile
    assert _champion(tmp_path, [push], candidate=2) == 1
    assert (tmp_path / "model-1" / "Format-Serving" / "variables" / "weights").exists()
    assert not (tmp_path / "model-1.restoring").exists()
    (tmp_path / "11" / "variables" / "weights").write_bytes(b"others")
    assert _champion(tmp_path, [push], candidate=2) == 1
    restored = tmp_path / "model-1" / "Format-Serving" / "variables" / "weights"
    assert restored.read_bytes() == b"weights", "what is there is left as it is"


def test_a_champion_is_not_restored_from_a_damaged_version(tmp_path: Path) -> None:
    pushes = [_push(tmp_path, 11, 1), _push(tmp_path, 12, 2)]
    for push, version in zip(pushes, ("11", "12"), strict=True):
        digest = version_folders.digest(tmp_path / version)
        push.set_string_custom_property(properties.PUSHED_DIGEST, digest)
    (tmp_path / "12" / "saved_model.pb").write_bytes(b"damage")
    assert _champion(tmp_path, pushes, candidate=3) == 1
    assert not (tmp_path / "model-2").exists()
