"""Kubeflow Pipelines and Vertex AI: compile, submit, follow, schedule, run one task."""
