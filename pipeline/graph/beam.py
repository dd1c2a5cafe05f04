"""The Beam options of every run. They are part of TFX's cache key, and therefore constant."""

from __future__ import annotations

from typing import Final

RUNNER: Final = "apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner"
"""Beam 2.77's default runner first tries to download another one, Prism."""

BEAM_OPTIONS: Final = (
    f"--runner={RUNNER}",
    # This runner starts no container. Without the option, TFX makes a package of its own source for
    # each component (0.8 s, 45 MB of temporary files), which this runner does not use either.
    "--sdk_container_image=unused",
)
