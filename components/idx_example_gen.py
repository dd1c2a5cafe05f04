"""IdxExampleGen: reads MNIST's IDX files into the splits `train`, `eval` and `test`.

The pair `train-images*`, `train-labels*` gives `train` and, from its end, `eval`; the pair
`t10k-images*`, `t10k-labels*` gives `test`. Files may be raw or gzipped.
`components/images/idx_pair.py` writes the examples.

Data that arrives in spans has a folder for each span, such as `span-12/`, or for each version of
a span, such as `span-12/version-2/`. One span is ingested, in its newest version.

This component does not judge the content. Images of a wrong size, a label of 12 or inverted
images are ingested as they are, and the validators find them. Only files that are not complete
IDX files are rejected here.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Mapping
from typing import Any, Final, Literal

from google.protobuf import struct_pb2
from tfx.components.example_gen import component, driver
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.orchestration.data_types import RuntimeParameter
from tfx.proto import example_gen_pb2, range_config_pb2
from tfx.types import artifact_utils
from tfx.types import standard_component_specs as specs
from tfx.types.artifact import Artifact
from tfx.utils import proto_utils

from components.images import idx_pair
from components.names.artifact_properties import FILES, FINGERPRINT
from components.names.splits import EVAL, TEST, TEST_FILES, TRAIN, TRAIN_FILES

LATEST: Final = "latest"
_EVAL_FRACTION: Final = "eval_fraction"
_FILE_FORMAT: Final = "tfrecords_gzip"  # TFX's name
_CONTENT_FINGERPRINT: Final = "sha256:"


class FilesChangedError(Exception):
    """The files are not those whose fingerprint is in the cache key."""


class Driver(driver.FileBasedDriver):  # type: ignore[misc]
    """Makes the fingerprint from the content of the files.

    TFX makes it from their sizes and modification times, so a second download of the same data
    would train again.
    """

    def resolve_exec_properties(
        self, exec_properties: dict[str, Any], pipeline_info: Any, component_info: Any
    ) -> dict[str, Any]:
        """Resolves as TFX's driver does, then replaces the fingerprint."""
        resolved: dict[str, Any] = super().resolve_exec_properties(
            exec_properties, pipeline_info, component_info
        )
        base = resolved[specs.INPUT_BASE_KEY]
        digests = {}
        for pattern in sorted({split.pattern for split in _input_config(resolved).splits}):
            for path in idx_pair.find_files(base, pattern):
                with fileio.open(posixpath.join(base, path), "rb") as file:
                    digests[path] = _sha256(file)
        resolved[FINGERPRINT] = fingerprint(digests)
        return resolved


class Executor(base_beam_executor.BaseBeamExecutor):  # type: ignore[misc]
    """Writes every split as gzipped TFRecord files of tf.Example protos.

    It starts no Beam job, although TFX wants this base class here: one process has to read a
    compressed IDX file from its start to its end, and Beam's in-process runner keeps all examples
    in memory between reading and writing.
    """

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Ingests the files, and records their digests in the property FILES, for lineage.

        Raises:
          FilesChangedError: the files changed after the driver had looked at them.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(output_dict[specs.EXAMPLES_KEY])
        patterns = {split.name: split.pattern for split in _input_config(exec_properties).splits}
        examples.split_names = artifact_utils.encode_split_names(list(patterns))
        boundary = 1 - _eval_fraction(exec_properties)
        shares = {TRAIN: (0.0, boundary), EVAL: (boundary, 1.0), TEST: (0.0, 1.0)}
        folder = exec_properties[specs.INPUT_BASE_KEY]
        digests: dict[str, str] = {}
        for pattern in sorted(set(patterns.values())):
            parts = [
                idx_pair.Part(artifact_utils.get_split_uri([examples], split), *shares[split])
                for split in patterns
                if patterns[split] == pattern
            ]
            digests |= idx_pair.ingest(folder, pattern, parts)
        expected = str(exec_properties.get(FINGERPRINT) or "")
        # Vertex AI runs TFX's own driver, whose fingerprint is of another kind.
        if expected.startswith(_CONTENT_FINGERPRINT) and expected != fingerprint(digests):
            raise FilesChangedError(
                f"the files in {folder} changed while they were ingested; run the pipeline again."
            )
        examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
        examples_utils.set_file_format(examples, _FILE_FORMAT)
        examples.set_string_custom_property(FILES, json.dumps(dict(sorted(digests.items()))))


class IdxExampleGen(component.FileBasedExampleGen):  # type: ignore[misc]
    """A FileBasedExampleGen for pairs of IDX files.

    Args:
      input_base: the folder with the four files, a path or the URI of a bucket.
      eval_fraction: the fraction of the training pair that becomes `eval`, 0 to 1. It is taken
        from the end, so that it consists of the same images in every run.
      span: the span to ingest, a number or LATEST; None if the four files are in `input_base`.
      span_folder: the folder of a span below `input_base`: a path with {SPAN} and optionally
        {VERSION}.
      code_digest: the digest of this component's code (`pipeline/graph/code_digest.py`).
    """

    DRIVER_CLASS = Driver
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        input_base: str | RuntimeParameter,
        eval_fraction: float,
        span: int | Literal["latest"] | None = None,
        span_folder: str = "span-{SPAN}",
        code_digest: str = "",
    ):
        settings = struct_pb2.Struct()
        settings.update({_EVAL_FRACTION: eval_fraction, "code_digest": code_digest})
        custom_config = example_gen_pb2.CustomConfig()
        custom_config.custom_config.Pack(settings)
        Split = example_gen_pb2.Input.Split
        prefix = "" if span is None else f"{span_folder}/"
        range_config = None
        if span is not None and span != LATEST:  # TFX's default is the latest
            range_config = range_config_pb2.RangeConfig(
                static_range=range_config_pb2.StaticRange(
                    start_span_number=span, end_span_number=span
                )
            )
        super().__init__(
            input_base=input_base,
            input_config=example_gen_pb2.Input(
                splits=[
                    Split(name=TRAIN, pattern=f"{prefix}{TRAIN_FILES}"),
                    Split(name=EVAL, pattern=f"{prefix}{TRAIN_FILES}"),
                    Split(name=TEST, pattern=f"{prefix}{TEST_FILES}"),
                ]
            ),
            custom_config=custom_config,
            range_config=range_config,
        )


def fingerprint(digests: Mapping[str, str]) -> str:
    """One digest of a data set's content, "sha256:...", from the sha256 of each file by its path.

    The names of folders are not part of it.
    """
    digest = hashlib.sha256()
    for path, content in sorted(digests.items()):
        digest.update(f"{posixpath.basename(path)}:{content}\n".encode())
    return f"{_CONTENT_FINGERPRINT}{digest.hexdigest()}"


def _eval_fraction(exec_properties: Mapping[str, Any]) -> float:
    custom_config = example_gen_pb2.CustomConfig()
    proto_utils.json_to_proto(exec_properties[specs.CUSTOM_CONFIG_KEY], custom_config)
    settings = struct_pb2.Struct()
    custom_config.custom_config.Unpack(settings)
    return float(settings[_EVAL_FRACTION])


def _sha256(file: Any) -> str:
    digest = hashlib.sha256()
    while block := file.read(2**20):
        digest.update(block)
    return digest.hexdigest()


def _input_config(exec_properties: Mapping[str, Any]) -> example_gen_pb2.Input:
    config = example_gen_pb2.Input()
    proto_utils.json_to_proto(exec_properties[specs.INPUT_CONFIG_KEY], config)
    return config
