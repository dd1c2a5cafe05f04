"""The functions of pyfarmhash, with cityhash's implementation of the same hashes.

TensorFlow Data Validation 1.21 requires pyfarmhash < 0.4. Those versions have no wheels
(the first are of 0.5.1), so installing one needs a C++ compiler and Python's headers.
cityhash has wheels, with an extension module `farmhash` that computes the same
fingerprints under other names. Python finds a package before an extension module of the
same name, so it imports this package, which loads cityhash's module.
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
    raise ImportError("cityhash's extension module farmhash is not installed beside this package")


_cityhash = _extension()
fingerprint32 = _cityhash.Fingerprint32
fingerprint64 = _cityhash.Fingerprint64
fingerprint128 = _cityhash.Fingerprint128
