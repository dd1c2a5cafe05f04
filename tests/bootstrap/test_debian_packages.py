"""The apt sources of the machine, rewritten for another release."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "bootstrap"))
import debian_packages

STANZAS = """\
Types: deb
URIs: http://mirror.test/debian http://other.test/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/archive.gpg

Types: deb
URIs: http://mirror.test/security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://mirror.test/off
Suites: bookworm
Components: main
"""


def test_only_the_main_archive_of_this_release_is_used() -> None:
    key = "[signed-by=/usr/share/keyrings/archive.gpg]"
    assert debian_packages._from_stanzas(STANZAS, "bookworm", "trixie") == [
        f"deb {key} http://mirror.test/debian trixie main contrib",
        f"deb {key} http://other.test/debian trixie main contrib",
    ]


def test_sources_of_another_release_are_unchanged() -> None:
    assert debian_packages._from_stanzas(STANZAS, "noble", "noble") == []
