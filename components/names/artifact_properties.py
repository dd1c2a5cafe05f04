"""Names of custom properties of artifacts in ML Metadata. Standard library only.

A property is written by one component and read by others, and by the commands that show what
ML Metadata knows.
"""

from __future__ import annotations

from typing import Final

# Of every artifact that a local run wrote.
OUTPUT_FILES: Final = "output_files"  # JSON: the sha256 of each file, by its path in the folder

# Of Examples. TFX's own, but for FILES.
SPAN: Final = "span"  # int: the number of the span; 0 without spans
FINGERPRINT: Final = "input_fingerprint"  # "sha256:...", of the content of all files
FILES: Final = "files"  # JSON: the sha256 of each file, by its path below the data's folder

# Of Examples that CorruptedExamples wrote.
EXAMPLES_COUNT: Final = "examples_count"  # int: the number of examples in all splits

# Of the execution of an ExampleGen. TFX's own.
INPUT_BASE: Final = "input_base"  # the folder of the data

# Of ExampleAnomalies that AnomalyGate wrote: the acceptance of a data set.
EXAMPLES_ID: Final = "examples_id"  # int: the id of the accepted Examples
STATISTICS_ID: Final = "statistics_id"  # int: the id of their statistics
IS_NEW_NORMAL: Final = "is_new_normal"  # 1: drift was only reported: it was intended

# Of ModelBlessing. TFX's own.
BASELINE_MODEL_ID: Final = "baseline_model_id"  # int: the id of the champion's Model

# Of InfraBlessing. The first two are TFX's.
BLESSED: Final = "blessed"  # 1 or 0
HAS_MODEL: Final = "has_model"  # 1: the artifact's folder contains the model to push
REASON: Final = "reason"  # why the model was not blessed, one sentence; else empty
SERVER: Final = "server"  # the kind of server that answered; see serving/launcher.py
LATENCY_P99_MS: Final = "latency_p99_ms"  # float: the 99th percentile of its latencies
MODEL_ID: Final = "model_id"  # int: the id of the Model; of PushedModel, too

# Of PushedModel. The first three are TFX's.
PUSHED: Final = "pushed"  # 1 or 0
PUSHED_DESTINATION: Final = "pushed_destination"  # the version's folder
PUSHED_VERSION: Final = "pushed_version"  # the version's number, as text
BLESSING_ID: Final = "blessing_id"  # int: the id of the ModelBlessing that allowed the push
PUSHED_DIGEST: Final = "pushed_digest"  # "sha256:...", of the files of the version; not in a bucket
ADOPTED: Final = "adopted"  # 1: the served version already had these files, so nothing was copied
