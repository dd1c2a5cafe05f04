"""The values of flags: each function converts a text, or raises argparse.ArgumentTypeError."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any, Final

_LARGEST_PORT: Final = 65535


def boolean(default: bool | None) -> dict[str, Any]:
    """The options of a flag with the forms `--flag`, `--flag=true` and `--flag=false`."""
    return {"type": truth, "nargs": "?", "const": True, "default": default, "metavar": "true"}


def truth(text: str) -> bool:
    """A flag that is true or false."""
    if text.lower() not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(f"{text}: expected true or false")
    return text.lower() in ("true", "1")


def port(text: str) -> int:
    """A port, 0 to 65535."""
    if not (text.isascii() and text.isdecimal()) or int(text) > _LARGEST_PORT:
        raise argparse.ArgumentTypeError(f"{text}: expected a port, a number from 0 to 65535")
    return int(text)


def count(text: str) -> int:
    """A number, 0 or more."""
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text}: expected a number, 0 or more")
    return int(text)


def positive(text: str) -> int:
    """A number, 1 or more."""
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text}: expected a number, 1 or more")
    return int(text)


def folders(text: str) -> tuple[Path, ...]:
    """Absolute paths, separated by commas."""
    folders = tuple(map(Path, text.split(",")))
    for folder in folders:
        if not folder.is_absolute():
            raise argparse.ArgumentTypeError(f"{folder}: expected an absolute path")
    return folders


def seconds(text: str) -> float:
    """A finite number."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise argparse.ArgumentTypeError(f"{text}: expected a number of seconds")
    return seconds


def tags(text: str) -> frozenset[str]:
    """Names, separated by commas."""
    return frozenset(filter(None, text.split(",")))


def channel_arguments(text: str) -> tuple[tuple[str, int | str], ...]:
    """gRPC's channel arguments, KEY=VALUE separated by commas; a number becomes an int."""
    arguments: list[tuple[str, int | str]] = []
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise argparse.ArgumentTypeError(f"{part}: expected KEY=VALUE")
        is_number = value.removeprefix("-").isdecimal() and value.isascii()
        arguments.append((key, int(value) if is_number else value))
    return tuple(arguments)


def local_folder(text: str) -> Path:
    """A path of this machine."""
    if "://" in text:
        raise argparse.ArgumentTypeError(
            f"{text}: only folders of this machine are supported; mount the bucket"
        )
    return Path(text)
