"""pyfarmhash's functions, by cityhash's implementation of the same hashes.

TensorFlow Data Validation imports pyfarmhash, which comes as source only: it would
need a C++ compiler and Python's headers on every machine. cityhash has wheels, and an
extension module `farmhash` with the same fingerprints under other names. A package is
found before an extension module of the same name, so this one is, and loads that one.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path


def _extension() -> object:
    folder = Path(__file__).parent.parent
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = folder / f"farmhash{suffix}"
        if path.is_file():
            spec = importlib.util.spec_from_file_location("_cityhash.farmhash", path)
            if spec is not None and spec.loader is not None:
                module = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(module)
                return module
    raise ImportError("cityhash's extension module farmhash is not beside this package")


_cityhash = _extension()
fingerprint32 = _cityhash.Fingerprint32
fingerprint64 = _cityhash.Fingerprint64
fingerprint128 = _cityhash.Fingerprint128
