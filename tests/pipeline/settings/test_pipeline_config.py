"""The configuration: the shipped ones are valid, and every error names its key and its file."""

from pathlib import Path

import pytest

from pipeline.settings import pipeline_config
from pipeline.settings.errors import ConfigError


@pytest.mark.parametrize("name", ["local", "quick", "best", "full", "fashion"])
def test_shipped_configurations_are_valid(name: str) -> None:
    assert f"{name}.toml" in pipeline_config.shipped()
    loaded = pipeline_config.load(name)
    assert sum(loaded.validation.class_balance) == pytest.approx(1, abs=1e-3)
    assert "image_height_px" in loaded.validation.schema_text


def test_full_is_the_reference_recipe() -> None:
    recipe = pipeline_config.load("full.toml").trainer
    assert (recipe.learning_rate, recipe.dropout, recipe.batch_size) == (1e-3, 0.5, 32)
    assert (recipe.epochs, recipe.train_images, recipe.schedule) == (5, "all", "constant")


def test_a_value_is_overridden_in_tomls_syntax() -> None:
    loaded = pipeline_config.load(
        overrides=["trainer.epochs=2", "trainer.train_images=all", "data.dataset='my-digits'"]
    )
    assert loaded.trainer.epochs == 2
    assert loaded.trainer.train_images == "all"
    assert loaded.data.dataset == "my-digits"


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        pipeline_config.load().trainer.epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.epoch=3", r"--set trainer.epoch: unknown key; did you mean trainer.epochs\?"),
        (
            "trainer.x=3",
            "--set trainer.x: unknown key; the known keys are batch_size, distribution",
        ),
        ("treiner.epochs=3", r"--set treiner.epochs: unknown key; did you mean trainer\?"),
        ("trainer.epochs=0", "--set trainer.epochs: 0: the minimum is 1"),
        ("evaluation.max_loss=inf", "--set evaluation.max_loss: inf: expected a finite number"),
        ("trainer.epochs=many", "--set trainer.epochs: 'many': expected an integer"),
        ("epochs=2", r"--set epochs: unknown key; did you mean trainer.epochs\?"),
        ("trainer=3", "--set trainer: 3: expected a table"),
        ("kubeflow.image=x", "kubeflow.image=x: this key is in the cluster file"),
        ("trainer.pooling=min", "--set trainer.pooling: 'min': expected 'max' or 'average'"),
        ("trainer.train_images=0", "--set trainer.train_images: 0: the minimum is 1"),
        ("data.eval_fraction=0.9", "--set data.eval_fraction: 0.9: expected less than 0.5"),
        ("data.eval_fraction", r"--set data.eval_fraction: expected KEY=VALUE"),
        ("name.x=1", "--set name.x: name is a value, not a section"),
        ("name='My Model'", "--set name: 'My Model': "),
        (
            "validation.schema=x.pbtxt",
            "--set: validation.schema is x.pbtxt; expected a file in",
        ),
        ("validation.schema=3", "validation.schema is 3; expected the name of a schema file"),
        (
            "validation.class_balance=[0.5,0.5]",
            "--set validation.class_balance: .* expected 10 shares with the sum 1; got 2 with",
        ),
    ],
)
def test_a_mistake_names_its_key_and_what_is_expected(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pipeline_config.load(overrides=[override])


def test_a_mistake_in_a_file_names_the_file(tmp_path: Path) -> None:
    text = (pipeline_config.SHIPPED / "local.toml").read_text()
    path = tmp_path / "mine.toml"
    path.write_text(text.replace("dropout = 0.1", 'dropout = "0.1"'))
    with pytest.raises(ConfigError, match=r"mine\.toml: trainer\.dropout: '0\.1': expected"):
        pipeline_config.load(path)
    path.write_text(text.replace("max_loss = 0.1", ""))
    with pytest.raises(
        ConfigError, match=r"mine\.toml: evaluation\.max_loss: missing; set this key"
    ):
        pipeline_config.load(path)
    path.write_text("= 1")
    with pytest.raises(ConfigError, match=r"mine\.toml is not a TOML file: .*line 1"):
        pipeline_config.load(path)


def test_a_missing_file_is_named_with_the_existing_ones() -> None:
    with pytest.raises(
        ConfigError,
        match=r"gone\.toml does not exist; .* one of best\.toml, fashion\.toml, full\.toml",
    ):
        pipeline_config.load("gone.toml")


def test_a_syntax_error_in_a_schema_is_located(tmp_path: Path) -> None:
    (tmp_path / "mnist.pbtxt").write_text('feature {\n  nam: "x"\n}')
    (tmp_path / "mine.toml").write_text((pipeline_config.SHIPPED / "local.toml").read_text())
    with pytest.raises(ConfigError, match=r"mine\.toml: validation\.schema: .*2:3.*nam"):
        pipeline_config.load(tmp_path / "mine.toml")


def test_a_schema_beside_the_file_takes_precedence(tmp_path: Path) -> None:
    (tmp_path / "mnist.pbtxt").write_text("# mine")
    (tmp_path / "mine.toml").write_text((pipeline_config.SHIPPED / "local.toml").read_text())
    assert pipeline_config.load(tmp_path / "mine.toml").validation.schema_text == "# mine"


def test_a_file_that_extends_another_states_only_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'extends = "full"\nname = "mine"\n[trainer]\nepochs = 2\n'
        "[robustness.strengths]\ntranslate = [1]\n"
        "[robustness.min_accuracy]\ntranslate = { 1 = 0.5 }\n"
    )
    loaded, local = pipeline_config.load(path), pipeline_config.load("local")
    assert (loaded.name, loaded.trainer.epochs) == ("mine", 2)
    assert loaded.trainer.dropout == 0.5, "full's"
    assert loaded.evaluation == local.evaluation, "local's, which full extends"
    assert dict(loaded.robustness.strengths) == {"translate": (1,)}, "replaced as a whole"
    assert loaded.robustness.min_accuracy == {"translate": {"1": 0.5}}


def test_the_gates_of_the_reference_recipe_are_those_of_the_default() -> None:
    """They are written once: `full` extends `local`."""
    full, local = pipeline_config.load("full"), pipeline_config.load("local")
    assert full.model_dump(exclude={"trainer"}) == local.model_dump(exclude={"trainer"})


def test_a_mistake_names_the_file_that_contains_it(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text('extends = "local"\n[trainer]\nepochs = 0\n')
    (tmp_path / "mine.toml").write_text('extends = "base.toml"\n[data]\nspan = -1\n')
    with pytest.raises(ConfigError) as raised:
        pipeline_config.load(tmp_path / "mine.toml")
    of_span, of_epochs = str(raised.value).splitlines()
    assert of_span.startswith(f"{tmp_path / 'mine.toml'}: data.span: -1: the minimum is 0")
    assert of_epochs.startswith(f"{tmp_path / 'base.toml'}: trainer.epochs: 0: the minimum is 1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            'extends = "gone"',
            r"mine\.toml: extends is 'gone'; the file does not exist; give",
        ),
        ("extends = 3", r"mine\.toml: extends is 3; expected the name of a file"),
        ('extends = "mine.toml"', r"mine\.toml: extends is 'mine\.toml', which extends this file"),
        (
            'extends = "local"\n[trainr]\nepochs = 1',
            r"mine\.toml: trainr: unknown key; did you mean",
        ),
    ],
)
def test_a_wrong_extension_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        pipeline_config.load(path)


def test_the_gates_that_are_off_are_listed() -> None:
    loaded = pipeline_config.load(
        overrides=["validation.max_drift=report", "evaluation.max_loss=report"]
    )
    assert loaded.gates_off() == ["validation.max_drift", "evaluation.max_loss"]
    assert pipeline_config.load().gates_off() == []
