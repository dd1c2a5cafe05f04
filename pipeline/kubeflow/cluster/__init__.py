"""The cluster file: how tasks run on Kubernetes."""
