"""The commands in the documents: each is one of the program's; those of the tutorial run.

Runs, servers and the page have tests of their own. Commands for a cluster are parsed only.
"""

import re
import shlex
from pathlib import Path
from typing import Any, Final

import pytest
from doubles.local_runs import LocalRuns, cli
from typer.main import get_command

from pipeline.cli import main
from pipeline.runs.workspace import Workspace

PROJECT: Final = Path(__file__).parents[2]
DOCUMENTS: Final = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "pipeline/**/*.md", "serving/**/*.md")
    for path in PROJECT.glob(pattern)
    if path.name != "CHANGELOG.md"
)
TUTORIAL: Final = PROJECT / "docs" / "tutorial.md"
STARTED_ELSEWHERE: Final = ("run", "demo", "serve", "predict")  # tests of their own

# What stands for a value in the documents.
PLACEHOLDERS: Final = {"N": "3", "PATH": "x", "VERSION": "1795672195", "BUCKET": "b"}


def _commands(document: Path) -> list[list[str]]:
    """The arguments of each `mnist-tfx` command in code, without the program."""
    text = document.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(r"^ *(?:\$ )?(?:\S*/)?mnist-tfx +([^#\n]+)", text, re.MULTILINE)
    lines += re.findall(r"`(?:\.venv/bin/)?mnist-tfx +([^`]+)`", text)
    # The table of commands has a grammar of its own; test_docs.py reads it.
    return [shlex.split(line) for line in lines if not re.search(r"[|\[]|\.\.\.", line)]


def _parse(arguments: list[str]) -> None:
    """Raises click's error if the program would reject the arguments."""
    command: Any = get_command(main.app)
    if arguments[0].startswith("-"):
        assert arguments[0] in {option for one in command.params for option in one.opts}
        return
    words = [PLACEHOLDERS.get(word, word) for word in arguments]
    while words and hasattr(command, "commands"):
        name, *words = words
        assert name in command.commands, name
        command = command.commands[name]
    if words and not hasattr(command, "commands"):
        command.make_context(command.name, words)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_the_program_has_each_command(document: Path) -> None:
    for arguments in _commands(document):
        if "--help" in arguments:
            continue
        try:
            _parse(arguments)
        except Exception as error:
            # An option may be mentioned without its value.
            assert "requires an argument" in str(error), (arguments, error)


def test_unknown_options_are_found() -> None:
    with pytest.raises(Exception, match="No such option"):
        _parse(["models", "--nonsense", "3"])


def test_the_commands_of_the_tutorial_run(two_models: LocalRuns, tmp_path: Path) -> None:
    """On a workspace like the tutorial's, with two pushed versions."""
    runs = [record.run_id for record in Workspace(two_models.root).records()]
    places = {"build/tutorial": str(two_models.root), "build/digits.onnx": str(tmp_path / "d.onnx")}
    places |= {"VERSION": str(two_models.versions[0])}
    done = []
    for arguments in _commands(TUTORIAL):
        if arguments[0] in STARTED_ELSEWHERE or arguments[-1].startswith("--"):
            continue
        values = iter(runs)
        words = [next(values) if word == "RUN" else places.get(word, word) for word in arguments]
        answer = cli(*words, cwd=PROJECT)
        assert answer.returncode == 0, (words, answer.stderr)
        assert answer.stdout
        done.append(arguments[0])
    assert done == [
        *("status", "report", "models", "rollback", "models", "lineage", "compare", "export")
    ]
