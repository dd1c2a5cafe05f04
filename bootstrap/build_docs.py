"""Composes the pages of the documentation site in build/docs: `make docs`.

The pages are the project's own documents, at their own places, so that links between them are the
same on the site and in the repository. Links to other files of the repository, which are no pages,
become code. The lists of all options and of all configuration keys are made from the program. It
runs with the project's interpreter.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import json
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = ROOT / "build" / "docs"
SOURCES: Final = ("*.md", "docs/**/*.md", "pipeline/**/*.md", "serving/**/*.md")
PICTURES: Final = ("docs/*.png", "docs/*.svg")
_LONGEST: Final = 60  # characters of a default that is shown
_BOUNDS: Final = {
    "minimum": "≥",
    "exclusiveMinimum": ">",
    "maximum": "≤",
    "exclusiveMaximum": "<",
}
_LINK: Final = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)]*)?\)")


def main() -> None:
    """Writes the pages."""
    shutil.rmtree(PAGES, ignore_errors=True)
    documents = [path for pattern in SOURCES for path in ROOT.glob(pattern)]
    pictures = [path for pattern in PICTURES for path in ROOT.glob(pattern)]
    known = {*documents, *pictures}
    for document in documents:
        link = functools.partial(_link, document=document, known=known)
        text = _LINK.sub(link, document.read_text("utf-8"))
        # GitHub needs the backslash in a table; the site would show it.
        text = re.sub(r"`[^`\n]+`", lambda code: code[0].replace("\\|", "|"), text)
        _write(_place(document), text)
    for picture in pictures:
        _place(picture).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, _place(picture))
    command = [sys.executable, "-m", "typer", "pipeline.cli.main", "utils", "docs"]
    options = subprocess.run(
        [*command, "--name", "mnist-tfx"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    _write(PAGES / "reference" / "commands.md", options.stdout)
    _write(PAGES / "reference" / "configuration.md", _configuration())


def _configuration() -> str:
    """The keys of the configuration with type, default and meaning, from the classes themselves."""
    from pipeline.settings import pipeline_config

    settings = pipeline_config.load()
    lines = ["# All configuration keys", "", "The defaults are those of `local`.", ""]
    for name in type(settings).model_fields:
        section = getattr(settings, name)
        if not isinstance(section, BaseModel):
            continue
        lines += [f"## {name}", "", "| key | type | default | meaning |", "|---|---|---|---|"]
        meanings = _docstrings(type(section))
        schema = type(section).model_json_schema()["properties"]
        for key, value in section.model_dump(mode="json", by_alias=True).items():
            shown = json.dumps(value)
            default = f"`{shown}`" if len(shown) <= _LONGEST else "see `local.toml`"
            kind = _kind(schema.get(key, {}))
            lines.append(f"| `{name}.{key}` | {kind} | {default} | {meanings.get(key, '')} |")
        lines.append("")
    return "\n".join(lines).replace(" | |", " | - |")


def _kind(schema: dict[str, Any]) -> str:
    """A type of a JSON schema in words."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(_kind, schema["anyOf"])))
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema.get("enum", [schema.get("const")]))
    bounds = [f"{sign} {schema[name]:g}" for name, sign in _BOUNDS.items() if name in schema]
    return " ".join([schema.get("type", "table"), ", ".join(bounds)]).strip()


def _docstrings(section: type) -> dict[str, str]:
    """The docstring below each field, by the name of the key."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(section)))
    body = tree.body[0].body  # type: ignore[attr-defined]
    found = {}
    for field, text in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            words = " ".join(ast.literal_eval(text.value).split()).replace("|", "\\|")
            found[field.target.id.replace("schema_text", "schema")] = words  # type: ignore[union-attr]
    return found


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
