"""The Beam options of every run. They are part of TFX's cache key, and therefore constant."""

from __future__ import annotations

from typing import Final

# Beam 2.77's default runner first tries to download another runner, Prism.
BEAM_RUNNER: Final = "--runner=apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner"
