"""Addresses of the cluster, in a network namespace of its own with one link to the host."""

from typing import Final

NODE: Final = "node"
HOST_ADDRESS: Final = "10.213.0.1"
NODE_ADDRESS: Final = "10.213.0.2"
NODE_MASK_BITS: Final = 24
PODS: Final = "10.214.0.0/16"
SERVICES: Final = "10.215.0.0/16"
KUBERNETES_SERVICE_ADDRESS: Final = "10.215.0.1"
KUBERNETES_PORT: Final = 6443
HOST_LINK: Final = "mnist-tfx"
NODE_LINK: Final = "eth0"
