"""The facts of a run's report, gathered from the run's artifacts."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tfx.types.artifact import Artifact

from components.evaluation import results
from components.evaluation.results import Evaluation
from components.images import corruptions, example_split
from components.names import artifact_properties as properties
from components.names.splits import TEST
from components.report import data_facts, model_facts, training_facts
from components.report.data_facts import DataFacts
from components.report.model_facts import ModelFacts
from components.report.training_facts import TrainingFacts
from components.validation.anomalies import Check

PACKAGES: Final = (
    "tfx",
    "tensorflow",
    "keras",
    "tensorflow-transform",
    "tensorflow-data-validation",
    "tensorflow-model-analysis",
    "ml-metadata",
    "apache-beam",
    "numpy",
    "scipy",
)
"""The packages whose versions are shown."""


@dataclass(frozen=True)
class ReportArtifacts:
    """The artifacts that the report reads."""

    examples: Artifact
    """This run's examples, as ingested."""

    window: Sequence[Artifact]
    """All examples that were trained on; this run's are the last."""

    reference: Artifact
    """The examples that this run's were compared with."""

    statistics: Artifact
    """Of `examples`."""

    anomalies: Mapping[Check, Artifact]
    model: Artifact
    """The candidate."""

    model_run: Artifact
    """TensorBoard's logs."""

    evaluation: Artifact
    blessing: Artifact

    def listed(self) -> list[tuple[str, Artifact]]:
        """Each artifact with its name."""
        return [
            ("examples", self.examples),
            *(("window", artifact) for artifact in self.window),
            ("reference", self.reference),
            ("statistics", self.statistics),
            *((f"anomalies, {check}", artifact) for check, artifact in self.anomalies.items()),
            ("model", self.model),
            ("model_run", self.model_run),
            ("evaluation", self.evaluation),
            ("blessing", self.blessing),
        ]


@dataclass(frozen=True)
class ReportParameters:
    """The parameters of RunReport, and the run's name."""

    pipeline_name: str
    configuration_json: str
    gates_off: str
    """The keys of the limits that are only reported, separated by commas."""

    code_digest: str
    run_id: str


@dataclass(frozen=True)
class RunFacts:
    """The facts of a run, by section."""

    pipeline: str
    created_at: str
    run_id: str
    data: DataFacts
    training: TrainingFacts
    evaluation: Evaluation
    confusion: NDArray[np.int64]
    """[10, 10], true digits by predicted digits."""

    model: ModelFacts
    class_names: Sequence[str]
    expected_shares: Sequence[float]
    robustness_images: int
    corrupted: Mapping[str, NDArray[np.uint8]]
    """By corruption: a test image at strength 0 and at each evaluated strength, [n, 28, 28]."""

    provenance: Mapping[str, str]
    artifacts: Sequence[Sequence[str]]
    """Name, id and URI of each."""

    versions: Mapping[str, str]
    recipe: Mapping[str, Any]
    gates_off: Sequence[str]
    """The keys of the limits that are only reported."""

    configuration: str


def gather(artifacts: ReportArtifacts, parameters: ReportParameters) -> RunFacts:
    """Reads the artifacts."""
    configuration = json.loads(parameters.configuration_json)
    test = example_split.read(artifacts.examples, TEST)
    evaluation_uri = artifacts.evaluation.uri
    return RunFacts(
        pipeline=parameters.pipeline_name,
        created_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        run_id=parameters.run_id,
        data=data_facts.gather(
            artifacts.examples,
            artifacts.window,
            artifacts.reference,
            artifacts.statistics,
            artifacts.anomalies,
            configuration["validation"],
        ),
        training=training_facts.gather(artifacts.model_run.uri),
        evaluation=results.read(evaluation_uri),
        confusion=results.read_confusion_matrix(evaluation_uri),
        model=model_facts.gather(evaluation_uri, test),
        class_names=configuration["data"]["class_names"],
        expected_shares=configuration["validation"]["class_balance"],
        robustness_images=configuration["robustness"]["images"],
        corrupted=_corrupted(test.take(np.arange(1)).images, configuration["robustness"]),
        recipe=configuration["trainer"],
        gates_off=[key for key in parameters.gates_off.split(",") if key],
        provenance=_provenance(artifacts, parameters),
        artifacts=[[name, str(each.id), each.uri] for name, each in artifacts.listed()],
        versions={
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
        configuration=json.dumps(configuration, indent=1),
    )


def _corrupted(
    image: NDArray[np.uint8], robustness: Mapping[str, Any]
) -> dict[str, NDArray[np.uint8]]:
    rows = {}
    for name, strengths in robustness["strengths"].items():
        row = [image]
        for strength in strengths:
            rng = np.random.default_rng(robustness["seed"])
            if name == corruptions.TRANSLATE:
                row.append(corruptions.shift(image, "right", strength))
            else:
                row.append(corruptions.CORRUPTIONS[name].apply(image, strength, rng))
        rows[name] = np.concatenate(row)
    return rows


def _provenance(artifacts: ReportArtifacts, parameters: ReportParameters) -> dict[str, str]:
    champion = artifacts.blessing.get_int_custom_property(properties.BASELINE_MODEL_ID)
    files: dict[str, str] = {}
    for examples in artifacts.window:
        files |= json.loads(examples.get_string_custom_property(properties.FILES) or "{}")
    fingerprint = artifacts.examples.get_string_custom_property(properties.FINGERPRINT)
    return {
        "run": parameters.run_id,
        "data, sha256": fingerprint.removeprefix("sha256:"),
        **{f"data, {path}": digest for path, digest in files.items()},
        "code, sha256": parameters.code_digest,
        "model": f"artifact {artifacts.model.id}",
        "champion": f"artifact {champion}" if champion else "none",
    }
