"""Digests of the project's own code, for TFX's cache keys.

TFX's cache key holds the inputs and parameters of a component, but not the code that it runs.
`create_pipeline` therefore passes each component the digest of all modules of this project that
its executor reaches: directly or indirectly imported, or started as a process (`-m module`).
The modules are found by reading the sources, so that a new import needs no entry in any list.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, TypeGuard

PACKAGES: Final = ("components", "pipeline", "serving", "trainer")
_TEMPLATE: Final = ".j2"  # templates belong to the package whose folder they are in
_ROOT: Final = Path(__file__).parents[2]


class SourceTree:
    """The sources of the project, read once.

    Args:
      root: the folder that contains `PACKAGES`.
    """

    def __init__(self, root: Path = _ROOT):
        self._sources: Mapping[str, bytes] = {
            _module_name(path.relative_to(root)): path.read_bytes()
            for package in PACKAGES
            for path in sorted((root / package).rglob("*"))
            if path.suffix in (".py", _TEMPLATE)
        }

    @property
    def modules(self) -> list[str]:
        """The names of all modules, and of all templates.

        Such as "components.report.page" and "components.report/run.html.j2".
        """
        return sorted(self._sources)

    def reached_from(self, *roots: str) -> set[str]:
        """The modules that these modules import, directly or indirectly, and the roots themselves.

        Raises:
          ModuleNotFoundError: a root is not a module of this project.
        """
        reached: set[str] = set()
        waiting = list(roots)
        while waiting:
            name = waiting.pop()
            if name not in self._sources:
                raise ModuleNotFoundError(f"{name} is not a module of {', '.join(PACKAGES)}")
            if name in reached:
                continue
            reached.add(name)
            waiting += self._references(name)
        return reached

    def digest_of(self, *roots: str) -> str:
        """The SHA-256 of the sources of `reached_from(*roots)`, in hexadecimal."""
        return self._digest(self.reached_from(*roots))

    def digest_of_everything(self) -> str:
        """The SHA-256 of all sources, in hexadecimal."""
        return self._digest(set(self._sources))

    def _digest(self, names: set[str]) -> str:
        digest = hashlib.sha256()
        for name in sorted(names):
            source = self._sources[name]
            digest.update(f"{name} {len(source)}\n".encode())
            digest.update(source)
        return digest.hexdigest()

    def _references(self, name: str) -> Iterator[str]:
        # Python runs the packages above a module first.
        parents = name.partition("/")[0].split(".")[:-1]
        yield from (".".join(parents[:depth]) for depth in range(1, len(parents) + 1))
        yield from (other for other in self._sources if other.startswith(f"{name}/"))
        if name.endswith(_TEMPLATE):
            return
        for target in _targets(self._sources[name]):
            # `from package import name`: the name may be a module or something in the package.
            package, _, last = target.rpartition(".")
            if target in self._sources:
                yield target
                yield from self._started_with(target)
            elif package in self._sources and last:
                yield package

    def _started_with(self, package: str) -> Iterator[str]:
        main = f"{package}.__main__"
        if main in self._sources:
            yield main


def _module_name(path: Path) -> str:
    package = ".".join(path.parent.parts)
    if path.suffix == _TEMPLATE:
        return f"{package}/{path.name}"
    return package if path.stem == "__init__" else f"{package}.{path.stem}"


def _is_dotted_name(value: object) -> TypeGuard[str]:
    return (
        isinstance(value, str)
        and value.startswith(PACKAGES)
        and value.replace(".", "_").isidentifier()
    )


@functools.cache
def _targets(source: bytes) -> tuple[str, ...]:
    """The modules and names that a module imports, and dotted names among its text constants.

    A dotted name such as "serving.server" is what `python -m` is given. Imports for type checkers
    only are left out, since they do not run.
    """
    found: list[str] = []
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Constant) and _is_dotted_name(node.value):
            found.append(node.value)
        waiting += ast.iter_child_nodes(node)
    return tuple(found)
