"""A program ends with its exit code, its output and its log, and waits for nothing else."""

import subprocess
import sys

import pytest

START = """
import gc, logging, sys, threading, time
from serving import program

logging.basicConfig(stream=sys.stdout, format="%(message)s")

def load():
    assert not gc.isenabled(), "imports create nothing that is garbage"
    return main

def main():
    assert gc.isenabled() and gc.get_freeze_count()
    threading.Thread(target=time.sleep, args=(600,)).start()  # would keep Python from ending
    print("printed")
    logging.warning("logged")
    {ending}

program.run(load)
"""


@pytest.mark.parametrize(
    ("ending", "code", "error"),
    [
        ("return", 0, ""),
        ("return 3", 3, ""),
        ("sys.exit(4)", 4, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit('a reason')", 1, "a reason"),
        ("raise RuntimeError('a defect')", 1, "RuntimeError: a defect"),
        ("raise KeyboardInterrupt", 130, "KeyboardInterrupt"),
    ],
)
def test_a_program_ends_with_its_code_and_its_output(ending: str, code: int, error: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", START.format(ending=ending)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code
    assert done.stdout == "printed\nlogged\n"
    assert (error in done.stderr) if error else not done.stderr
