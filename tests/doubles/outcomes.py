"""The outcome of a run that pushed a model; invented numbers."""

from pipeline.runs import events

OUTCOME = events.Outcome(
    test_images=10_000,
    accuracy=0.98765,
    loss=0.0412,
    digit_accuracy={"0": 0.99, "9": 0.97},
    rejections=(),
    pushed="/serving/7",
    artifacts="/artifacts",
    tensorboard="/artifacts/run",
)
