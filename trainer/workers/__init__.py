"""Training in several processes: on this machine, or each in a pod of its own."""
