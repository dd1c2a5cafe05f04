"""Starts the project's processes from a parent that has imported TensorFlow and TFX already.

A process of the pipeline spends 7 to 20 s on imports. `WarmPopen` behaves as `subprocess.Popen`,
but has `[sys.executable, "-m", MODULE, ...]` forked by a fork server if MODULE is one of `MODULES`.
The server has imported everything and used nothing, so a fork of it is as good as a new process.
Everything else is started as usual, and so is a process with another working directory or other
settings of Python, TensorFlow or oneDNN. Tests marked `cold` start real processes only.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MODULES = ("pipeline.cli", "pipeline.local", "pipeline.kubeflow", "serving.server")
PRELOADED = (
    "pipeline.cli.main",
    "pipeline.experiments.pooling_comparison",
    "pipeline.kubeflow.compiler",
    "pipeline.kubeflow.connection",
    "pipeline.kubeflow.node",
    "pipeline.kubeflow.session",
    "pipeline.local.session",
    "pipeline.local.worker",
    "pipeline.runs.schema_review",
    "serving.server.lifecycle",
)
ADDRESS = "MNIST_TFX_TEST_FORK_SERVER"  # the path of the server's socket
_SETTINGS = ("PYTHON", "TF_", "ONEDNN", "OMP_", "MKL_", "LD_")  # read at start-up or at import
_PROJECT = Path(__file__).parents[2]
_LENGTH = struct.Struct("!I")
_MAX_FDS = 16


RealPopen = subprocess.Popen


class WarmPopen(subprocess.Popen):  # type: ignore[type-arg]
    """`subprocess.Popen`, with the fork server where possible."""

    _connection: socket.socket | None = None

    def _execute_child(self, args: Any, *rest: Any) -> None:
        executable, preexec_fn, _, pass_fds, cwd, env = rest[:6]
        shell, pipes = rest[8], rest[9:15]
        words = [os.fsdecode(word) for word in args] if not isinstance(args, str | bytes) else []
        environment = dict(os.environ if env is None else env)
        is_plain = executable is None and preexec_fn is None and not shell
        if not (is_plain and _is_warm(words, cwd, environment)):
            super()._execute_child(args, *rest)  # type: ignore[misc]
            return
        stdin, _, _, stdout, _, stderr = pipes
        targets = {
            0: stdin if stdin != -1 else 0,
            1: stdout if stdout != -1 else 1,
            2: stderr if stderr != -1 else 2,
            **{fd: fd for fd in pass_fds},
        }
        request = {
            "args": words[2:],
            "env": environment,
            "targets": list(targets),
            "leads_group": rest[-1] == 0,
        }
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(os.environ[ADDRESS])
        content = json.dumps(request).encode()
        socket.send_fds(self._connection, [_LENGTH.pack(len(content))], list(targets.values()))
        self._connection.sendall(content)
        self.pid = _receive(self._connection)
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]

    def _internal_poll(self, *args: Any, **kwargs: Any) -> int | None:
        if self._connection is None:
            return super()._internal_poll(*args, **kwargs)  # type: ignore[misc,no-any-return]
        if self.returncode is None and _is_readable(self._connection, 0):
            self._collect()
        return self.returncode

    def _wait(self, timeout: float | None) -> int:
        if self._connection is None:
            return super()._wait(timeout)  # type: ignore[misc,no-any-return]
        if self.returncode is None:
            if not _is_readable(self._connection, timeout):
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self._collect()
        return self.returncode

    def _collect(self) -> None:
        assert self._connection is not None
        self.returncode = _receive(self._connection)
        self._connection.close()


def _is_warm(words: Sequence[str], cwd: Any, environment: Mapping[str, str]) -> bool:
    def settings(of: Mapping[str, str]) -> dict[str, str]:
        return {name: value for name, value in of.items() if name.startswith(_SETTINGS)}

    return (
        len(words) > 2
        and words[:2] == [sys.executable, "-m"]
        and words[2] in MODULES
        and Path(cwd or ".").resolve() == _PROJECT
        and settings(environment) == settings(os.environ)
    )


def _is_readable(connection: socket.socket, timeout_s: float | None) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        return bool(selector.select(timeout_s))


def _receive(connection: socket.socket) -> int:
    content = connection.recv(_LENGTH.size, socket.MSG_WAITALL)
    if len(content) != _LENGTH.size:
        raise ConnectionError("the fork server ended")
    return int(_LENGTH.unpack(content)[0]) - 1000


def _send(connection: socket.socket, number: int) -> None:
    with contextlib.suppress(OSError):  # no process waits for it any longer
        connection.sendall(_LENGTH.pack(number + 1000))  # exit codes can be negative


def serve(descriptor: int) -> None:  # noqa: C901 - one event loop
    """The fork server: forks a child for each connection, until its standard input is closed.

    The caller's socket listens already, so that a connection before the imports waits for them.
    """
    listener = socket.socket(fileno=descriptor)
    children: dict[int, socket.socket] = {}
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    selector.register(wake, selectors.EVENT_READ)
    parent = os.dup(0)  # closed when the tests end, however they end
    selector.register(parent, selectors.EVENT_READ)
    is_loaded = False
    try:
        while True:
            for key, _ in selector.select():
                if key.fileobj == parent:
                    return
                if key.fileobj is not listener:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wake, 4096)
                    _reap(children)
                    continue
                connection, _ = listener.accept()
                if not is_loaded:  # not before it is needed
                    for name in PRELOADED:
                        importlib.import_module(name)
                    subprocess.Popen = WarmPopen  # type: ignore[misc]
                    is_loaded = True
                head, fds, _, _ = socket.recv_fds(connection, _LENGTH.size, _MAX_FDS)
                size = _LENGTH.unpack(head)[0]
                request = json.loads(connection.recv(size, socket.MSG_WAITALL))
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    selector.close()
                    for other in (listener, connection, *children.values()):
                        other.close()
                    for fd in (wake, waker, parent):
                        os.close(fd)
                    _run_child(request, fds)
                for fd in fds:
                    os.close(fd)
                if request["leads_group"]:  # before the process that asked knows the id
                    os.setpgid(pid, pid)
                children[pid] = connection
                _send(connection, pid)
    finally:
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _reap(children: dict[int, socket.socket]) -> None:
    while children:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        connection = children.pop(pid)
        _send(connection, os.waitstatus_to_exitcode(status))
        connection.close()


def _run_child(request: Mapping[str, Any], fds: Sequence[int]) -> None:
    """Becomes the process that was asked for; does not return."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        high = [os.dup2(fd, 500 + place, inheritable=False) for place, fd in enumerate(fds)]
        for fd in fds:
            os.close(fd)
        for target, fd in zip(request["targets"], high, strict=True):
            os.dup2(fd, target)
            os.close(fd)
        os.environ.clear()
        os.environ.update(request["env"])
        module, *arguments = request["args"]
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
