"""The digests in cache keys: which code each component's digest covers.

The oracle is grimp, import-linter's own reader of imports.
"""

from collections.abc import Callable
from pathlib import Path

import grimp
import pytest

from components.names.node_ids import NodeId
from pipeline.graph import code_digest, dag
from pipeline.graph.code_digest import PACKAGES, SourceTree
from pipeline.settings import pipeline_config

PROJECT = Path(__file__).parents[3]

# The module that a node's executor is in, or that TFX or TFMA imports by its name.
ENTRY_POINTS = {
    NodeId.IDX_EXAMPLE_GEN: ("components.idx_example_gen",),
    NodeId.CURATED_SCHEMA: ("components.curated_schema",),
    NodeId.IMAGE_VALIDATOR: ("components.image_validator",),
    NodeId.ANOMALY_GATE: ("components.anomaly_gate",),
    NodeId.TRANSFORM: ("trainer.preprocessing",),
    NodeId.TRAINER: ("trainer.run",),
    NodeId.CORRUPTED_EXAMPLES: ("components.corrupted_examples",),
    NodeId.EVALUATOR: (
        "components.evaluation.example_groups",
        "components.evaluation.group_metrics",
    ),
    # It starts the embedded server as a process.
    NodeId.SERVER_VALIDATOR: ("components.server_validator", "serving.server.__main__"),
    NodeId.ATOMIC_PUSHER: ("components.atomic_pusher",),
}


def _parameters(config: pipeline_config.PipelineConfig | None = None) -> dict[str, str]:
    """The parameters of each node, which are part of its cache key."""
    folders = dag.Folders("/data", "/artifacts", "/serving")
    nodes = dag.create_pipeline(config or pipeline_config.load(), folders).components
    return {
        node.id: str({key: str(value) for key, value in node.exec_properties.items()})
        for node in nodes
    }


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True)


@pytest.fixture
def edited(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path | None], None]:
    """Makes the content of one file appear with an additional line."""
    read_bytes = Path.read_bytes
    current: list[Path | None] = [None]

    def read(path: Path) -> bytes:
        return read_bytes(path) + (b"# edited\n" if path == current[0] else b"")

    monkeypatch.setattr(Path, "read_bytes", read)

    def edit(path: Path | None) -> None:
        current[0] = path

    return edit


def _file(module: str) -> Path:
    package, slash, template = module.partition("/")
    folder = PROJECT / package.replace(".", "/")
    if slash:
        return folder / template
    return folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")


def test_every_source_file_is_covered() -> None:
    files = {
        path
        for package in PACKAGES
        for path in (PROJECT / package).rglob("*")
        if path.suffix in (".py", ".j2")
    }
    assert {_file(module) for module in SourceTree().modules} == files
    assert len(files) > 100


def test_an_edit_of_any_module_changes_the_keys_of_the_nodes_that_run_it(
    imports: grimp.ImportGraph, edited: Callable[[Path | None], None]
) -> None:
    """Each module is edited in turn; the import graph says whose key must change."""
    reached = {}
    for node, entry_points in ENTRY_POINTS.items():
        modules = set(entry_points).union(*map(imports.find_upstream_modules, entry_points))
        packages = {name.rpartition(".")[0] for name in modules}  # Python runs these first
        while parents := {name.rpartition(".")[0] for name in packages} - packages - {""}:
            packages |= parents
        reached[node] = modules | packages - {""}
        while added := set().union(*map(imports.find_upstream_modules, reached[node])):
            if added <= reached[node]:
                break
            reached[node] |= added
    before = _parameters()
    for module in SourceTree().modules:
        edited(_file(module))
        after = _parameters()
        changed = {node for node in before if before[node] != after[node]}
        expected = {node for node, modules in reached.items() if module in modules}
        # The report states the digest of all code.
        assert changed == {*expected, NodeId.RUN_REPORT}, module
    edited(None)
    assert _parameters() == before


def test_the_metric_of_calibration_is_in_the_key_of_the_evaluator(
    edited: Callable[[Path | None], None],
) -> None:
    """TFMA imports the metric by name, which the key would not cover by itself."""
    before = _parameters()[NodeId.EVALUATOR]
    edited(PROJECT / "components" / "evaluation" / "calibration.py")
    assert _parameters()[NodeId.EVALUATOR] != before


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A project of its own with each kind of reference."""
    files = {
        "components/__init__.py": "",
        "components/a.py": "from components.b import value\n",
        "components/b.py": "def value():\n    import trainer.c\n",
        "components/typed.py": "if TYPE_CHECKING:\n    from components import b\n",
        "components/starts.py": "command = ['python', '-m', 'serving.tool']\n",
        "components/page/__init__.py": "",
        "components/page/page.html.j2": "<p>",
        "components/shows.py": "from components import page\n",
        "trainer/__init__.py": "",
        "trainer/c.py": "",
        "serving/__init__.py": "",
        "serving/tool/__init__.py": "",
        "serving/tool/__main__.py": "from components import a\n",
        "pipeline/__init__.py": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("root", "reached"),
    [
        ("trainer.c", {"trainer", "trainer.c"}),
        ("components.b", {"components", "components.b", "trainer", "trainer.c"}),
        ("components.a", {"components", "components.a", "components.b", "trainer", "trainer.c"}),
        ("components.typed", {"components", "components.typed"}),
        (
            "components.shows",
            {"components", "components.shows", "components.page", "components.page/page.html.j2"},
        ),
        (
            "components.starts",
            {
                "components",
                "components.starts",
                "serving",
                "serving.tool",
                "serving.tool.__main__",
                "components.a",
                "components.b",
                "trainer",
                "trainer.c",
            },
        ),
    ],
)
def test_a_digest_covers_all_imports_of_a_module(tree: Path, root: str, reached: set[str]) -> None:
    assert SourceTree(tree).reached_from(root) == reached


def test_the_digest_depends_on_the_content_only(tree: Path) -> None:
    first = SourceTree(tree).digest_of("components.a")
    assert SourceTree(tree).digest_of("components.a") == first
    (tree / "components" / "typed.py").write_text("x = 1\n")
    assert SourceTree(tree).digest_of("components.a") == first, "it is not reached"
    (tree / "trainer" / "c.py").write_text("x = 1\n")
    assert SourceTree(tree).digest_of("components.a") != first
    with pytest.raises(ModuleNotFoundError, match=r"components\.gone is not a module of"):
        SourceTree(tree).digest_of("components.gone")


def test_reading_the_sources_starts_at_the_projects_folder() -> None:
    assert code_digest._ROOT == PROJECT
