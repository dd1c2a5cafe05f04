"""The command line: exit codes, and one line for each mistake."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli import entry_point
from pipeline.settings import pipeline_config
from pipeline.settings.errors import ExitCode


def _call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["mnist-tfx", *arguments])
    with pytest.raises(SystemExit) as ended:
        entry_point.main()
    captured = capsys.readouterr()
    code = ended.value.code
    return code if isinstance(code, int) else 0, captured.out, captured.err


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "data",
        "serve",
        "predict",
        "status",
        "report",
        "lineage",
        "schema",
        "experiment",
        "compile",
        "submit",
        "schedule",
    ],
)
def test_every_command_has_help(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    code, out, _ = _call(capsys, monkeypatch, command, "--help")
    assert code == 0
    assert f"mnist-tfx {command}" in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "--set", "trainer.epoch=1"], ExitCode.USAGE, "did you mean trainer.epochs?"),
        (
            ["run", "--config", "gone.toml"],
            ExitCode.USAGE,
            "the configuration gone.toml does not exist",
        ),
        (["run", "--data-dir", "/gone"], ExitCode.FAILED, "/gone does not exist"),
        (["run", "--nonsense"], ExitCode.USAGE, "--nonsense"),
        (["data", "--config", "fashion"], ExitCode.FAILED, "cannot be downloaded; give the folder"),
        (["predict", "gone.png"], ExitCode.FAILED, "the file gone.png does not exist"),
        (
            ["run", "--span", "x"],
            ExitCode.USAGE,
            "data.span: 'x': expected an integer, or 'none' or 'latest'.",
        ),
        (
            ["run", "--span", "3"],
            ExitCode.USAGE,
            "--data-dir is missing; give the folder that contains the spans",
        ),
        (["run", "--set", "data.span_folder=x"], ExitCode.USAGE, "such as span-{SPAN} or"),
        (
            ["run", "--set", "evaluation.min_accuracy=2"],
            ExitCode.USAGE,
            "min_accuracy: 2: the maximum is 1, or 'report'.",
        ),
        (
            ["run", "--set", "robustness.strengths.translate=[9]"],
            ExitCode.USAGE,
            "the strengths of translate are [9]; expected numbers from 1 to 5.",
        ),
        (
            ["run", "--set", "robustness.strengths.wobble=[1]"],
            ExitCode.USAGE,
            "wobble is not a corruption; known are translate, rotate,",
        ),
        (
            ["run", "--set", "robustness.min_accuracy.rotate.9=0.5"],
            ExitCode.USAGE,
            "min_accuracy.rotate sets a limit for strength 9; strengths.rotate contains only [1,",
        ),
        (
            ["serve", "--server=embedded", "--prot=1"],
            ExitCode.USAGE,
            "unknown option --prot; did you mean --port?",
        ),
        (
            ["serve", "--server=embedded", "--rest_api_timeout_in_ms=0"],
            ExitCode.USAGE,
            "0: expected a number, 1 or more",
        ),
        (["run", "quick"], ExitCode.USAGE, "argument quick; did you mean --config quick?"),
        (["predict", "idx:x"], ExitCode.USAGE, "idx:x: expected idx:N, such as idx:0."),
        (
            ["predict", "a.png", "--version", "1", "--label", "x"],
            ExitCode.USAGE,
            "--version and --label are both given; give only one of them.",
        ),
        (["serve", "--port", "99999"], ExitCode.USAGE, "'--port': the maximum is 65535"),
        (
            ["serve", "--port", "x"],
            ExitCode.USAGE,
            "Invalid value for '--port': expected an integer",
        ),
        (["prune", "--keep", "0"], ExitCode.USAGE, "Invalid value for '--keep': the minimum is 1"),
        (
            ["predict", "x", "--polarity", "gray"],
            ExitCode.USAGE,
            "'--polarity': 'gray' is not one of",
        ),
        (["lineage", "3", "--json", "--dot"], ExitCode.USAGE, "use --json or --dot, not both."),
    ],
)
def test_a_mistake_has_its_exit_code_and_a_cure(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: ExitCode,
    message: str,
) -> None:
    found, _, err = _call(capsys, monkeypatch, *arguments)
    assert found == code
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("status", "contains no run; start one with"),
        ("serve", "contains no pushed model mnist; run"),
        ("report", "contains no report; a run writes one at its end"),
        ("report --run x", "contains no run x; `mnist-tfx status --root "),
        ("lineage 5", "contains no run; start one with"),
        ("schema diff", "contains no statistics of a run of mnist; start one"),
    ],
)
def test_an_empty_workspace_is_named(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    command: str,
    message: str,
) -> None:
    code, _, err = _call(capsys, monkeypatch, *command.split(), "--root", str(tmp_path))
    assert code == ExitCode.FAILED
    assert message in err
    assert str(tmp_path) in err


def test_data_checks_a_folder_and_prints_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, digits: Path
) -> None:
    arguments = ["data", "--data-dir", str(digits), "--set", "data.dataset=sample"]
    code, out, _ = _call(capsys, monkeypatch, *arguments)
    assert code == 0
    assert out.replace("\n", "") == str(digits)


def test_an_unexpected_error_leaves_its_traceback_in_a_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(pipeline_config, "load", broken)
    code, _, err = _call(capsys, monkeypatch, "run")
    assert code == ExitCode.FAILED
    assert err.startswith("mnist-tfx: unexpected error: a bug (details: ")
    details = Path(err.strip().removesuffix(")").rpartition("details: ")[2])
    assert 'raise ZeroDivisionError("a bug")' in details.read_text()
    details.unlink()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_imports_ends_as_interrupted(number: signal.Signals) -> None:
    code = f"""if True:
        import os, signal, sys
        from pipeline.cli.entry_point import main
        signal.signal(signal.SIGINT, signal.default_int_handler)

        class Interrupting:
            def find_spec(self, name, *_):
                if name == "typer":
                    os.kill(os.getpid(), {int(number)})

        sys.meta_path.insert(0, Interrupting())
        main()
    """
    command = [sys.executable, "-c", code, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (ExitCode.INTERRUPTED, "")
    assert done.stderr == "mnist-tfx: interrupted.\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_error_that_an_interrupt_caused_ends_as_interrupted(
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    """Pydantic, for one, converts a KeyboardInterrupt within a serializer to its own error."""
    # A shell's background job, which a test run can be, ignores SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))

    def interrupted(*_: object) -> None:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        raise ValueError("Error calling function `ser_path`: KeyboardInterrupt")

    monkeypatch.setattr(pipeline_config, "load", interrupted)
    code, _, err = _call(capsys, monkeypatch, "run")
    assert (code, err) == (ExitCode.INTERRUPTED, "mnist-tfx: interrupted.\n")
