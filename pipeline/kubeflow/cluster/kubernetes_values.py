"""Types of the values that Kubernetes accepts: names, labels, quantities, images.

A value that Kubernetes would reject is rejected when the file is read.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.settings.toml_settings import matching

_NAME = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
Name = Annotated[str, matching(_NAME, "a Kubernetes name: a-z, 0-9 and -, at most 63 characters")]
ObjectName = Annotated[
    str, matching(rf"{_NAME}(\.{_NAME})*", "a Kubernetes object's name: a-z, 0-9, . and -")
]
_LABEL = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
LabelKey = Annotated[str, matching(rf"({_NAME}(\.{_NAME})*/)?{_LABEL}", "a Kubernetes label's key")]
LabelValue = Annotated[
    str, matching(rf"({_LABEL})?", "a Kubernetes label's value: at most 63 of A-Z, 0-9, -, _, .")
]
Cpu = Annotated[str, matching(r"\d*\.?\d+m?", 'a number of CPUs such as "2" or "500m"')]
Memory = Annotated[
    str, matching(r"\d+([EPTGMK]i?)?", 'an amount of memory such as "4G" or "512Mi"')
]
Resource = Annotated[str, matching(r"[^\s/]+/[^\s/]+", "a resource such as nvidia.com/gpu")]
_PATH = r"[a-z0-9]+([._-]+[a-z0-9]+)*"
Image = Annotated[
    str,
    matching(
        rf"([a-z0-9.-]+(:\d+)?/)?{_PATH}(/{_PATH})*"
        r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?",
        "an image such as registry.example/mnist-tfx:1.0, with @sha256:... to pin it",
    ),
]
EnvironmentVariable = Annotated[
    str, matching(r"[A-Za-z_][A-Za-z0-9_]*", "the name of an environment variable")
]
Cron = Annotated[
    str,
    matching(
        r"@(yearly|annually|monthly|weekly|daily|midnight|hourly)|@every \d+[hms](\d+[ms])*"
        r"|[\d*/,?A-Za-z-]+( [\d*/,?A-Za-z-]+){5}",
        'six fields, seconds first, such as "0 0 3 * * *", or @daily and the like',
    ),
]
Host = Annotated[str, matching(r"[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?", "a host's name")]
Port = Annotated[int, Field(ge=1, le=65535)]


def cpus(quantity: str) -> float:
    """The number of CPUs of "2" or "500m"."""
    number = float(quantity.removesuffix("m"))
    return number / 1000 if quantity.endswith("m") else number


def size_bytes(quantity: str) -> int:
    """The number of bytes of "4G" or "512Mi"."""
    digits = quantity.rstrip("EPTGMKi")
    unit = quantity[len(digits) :]
    base = 1024 if unit.endswith("i") else 1000
    power = 1 + "KMGTPE".index(unit[0]) if unit else 0
    return int(int(digits) * base**power)
