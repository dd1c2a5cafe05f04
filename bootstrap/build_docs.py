"""Composes the pages of the documentation site in build/docs: `make docs`.

The pages are the project's own documents, at their own places, so that links between them are the
same on the site and in the repository. Links to other files of the repository, which are no pages,
become code. The list of all options is made from the command line. Standard library only; runs with
the project's interpreter.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = ROOT / "build" / "docs"
SOURCES: Final = ("*.md", "docs/**/*.md", "pipeline/**/*.md", "serving/**/*.md")
PICTURES: Final = ("docs/*.png", "docs/*.svg")
_LINK: Final = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)]*)?\)")


def main() -> None:
    """Writes the pages."""
    shutil.rmtree(PAGES, ignore_errors=True)
    documents = [path for pattern in SOURCES for path in ROOT.glob(pattern)]
    pictures = [path for pattern in PICTURES for path in ROOT.glob(pattern)]
    known = {*documents, *pictures}
    for document in documents:
        link = functools.partial(_link, document=document, known=known)
        _write(_place(document), _LINK.sub(link, document.read_text("utf-8")))
    for picture in pictures:
        _place(picture).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, _place(picture))
    command = [sys.executable, "-m", "typer", "pipeline.cli.main", "utils", "docs"]
    options = subprocess.run(
        [*command, "--name", "mnist-tfx"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    _write(PAGES / "reference" / "commands.md", options.stdout)


def _place(document: Path) -> Path:
    """The page of a document; the README is the start page."""
    path = document.relative_to(ROOT)
    return PAGES / ("index.md" if path == Path("README.md") else path)


def _link(found: re.Match[str], document: Path, known: set[Path]) -> str:
    mark, text, target, anchor = found.groups(default="")
    if "://" in target:
        return found[0]
    path = (document.parent / target).resolve()
    if path == ROOT / "README.md":
        up = "../" * len(document.relative_to(ROOT).parent.parts)
        return f"{mark}[{text}]({up}index.md{anchor})"
    if path in known:
        return found[0]
    return (
        f"{text} (`{path.relative_to(ROOT)}`)"
        if str(path.relative_to(ROOT)) != text
        else f"`{text}`"
    )


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
