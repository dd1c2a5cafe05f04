"""Limits that client and server share."""

from __future__ import annotations

from typing import Final

MAX_MESSAGE_BYTES: Final = 64 * 2**20
"""The largest message, in either direction."""
