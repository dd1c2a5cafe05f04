"""One target under Atheris: python -m fuzz.atheris_target TARGET [options of libFuzzer]."""

from __future__ import annotations

import logging
import sys

import atheris


def main() -> None:
    """Fuzzes until libFuzzer ends the process."""
    logging.disable(logging.CRITICAL)
    with atheris.instrument_imports(include=["components", "pipeline", "serving"]):
        from fuzz.targets import TARGETS

        # Imports within the target happen now, so that they are instrumented, too.
        target = TARGETS[sys.argv[1]]
        for seed in target.seeds():
            target.run(seed)
    atheris.Setup([sys.argv[0], *sys.argv[2:]], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
