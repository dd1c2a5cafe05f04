"""Makes the pictures in docs/ from a workspace with a finished run: `make pictures`.

The browser is the system's Chromium. The demo shows one image of the test split.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from doubles import browser
from PIL import Image
from playwright.sync_api import Page
from rich.console import Console

from pipeline.local import runner
from pipeline.runs import events
from pipeline.runs.workspace import Workspace
from pipeline.settings import defaults
from pipeline.view.run_view import RunView
from pipeline.view.summary import summary

DOCS: Final = Path(__file__).parents[2] / "docs"
_COLOURS: Final = 128


def main() -> None:
    """Writes report.png, demo.png and terminal.svg."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=defaults.ROOT, help="the workspace")
    parser.add_argument("--name", default=defaults.NAME, help="the name of the model")
    options = parser.parse_args()
    program = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if program is None:
        sys.exit("pictures: chromium is not installed.")
    workspace = Workspace(options.root.resolve())
    _draw_terminal(workspace)
    with browser.started(program) as chromium:
        page = chromium.new_page(viewport={"width": 1280, "height": 1400})
        record = next(r for r in reversed(workspace.records()) if r.outcome and r.outcome.report)
        assert record.outcome and record.outcome.report
        page.goto(Path(record.outcome.report).as_uri())
        _save(page, DOCS / "report.png")
        _draw_demo(page, workspace, options.name)


def _draw_demo(page: Page, workspace: Workspace, name: str) -> None:
    command = [sys.executable, "-m", "pipeline.cli", "demo", "--no-browser", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--root", workspace.root, "--name", name], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        page.goto(process.stdout.readline().split()[1])
        for _ in range(60):  # until the model is loaded
            page.click("#sample")
            page.wait_for_timeout(1000)
            if page.locator("#maps canvas").count():
                break
        page.set_viewport_size({"width": 1280, "height": 1750})
        _save(page, DOCS / "demo.png")
    finally:
        process.terminate()
        process.wait()


def _save(page: Page, path: Path) -> None:
    """A screenshot with few colours, which is a third of the size."""
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        small = picture.convert("RGB").resize((picture.width * 3 // 4, picture.height * 3 // 4))
        small.quantize(_COLOURS).save(path, optimize=True)
    print(f"{path}  {path.stat().st_size / 1e3:.0f} kB")


def _draw_terminal(workspace: Workspace) -> None:
    """The run with the fewest cached components, as `mnist-tfx run` printed it."""
    kept = [
        record
        for record in workspace.records()
        if (workspace.run_folder(record.run_id) / runner.EVENTS).exists()
    ]
    record = max(kept, key=lambda record: [node.state for node in record.nodes].count("done"))
    console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True)
    view = RunView(console)
    path = workspace.run_folder(record.run_id) / runner.EVENTS
    for line in path.read_text(encoding="utf-8").splitlines():
        event = events.parse(line)
        if isinstance(event, events.Planned | events.NodeChanged):
            view.on_event(event)
    text = summary(record, workspace.run_folder(record.run_id) / runner.LOG)
    for part in text.split("\n"):
        shown = part.plain.replace(str(workspace.root), "workspace")
        shown = shown.replace(str(DOCS.parent), ".")
        console.print(part if shown == part.plain else shown, highlight=False, soft_wrap=True)
    picture = console.export_svg(title="mnist-tfx run")
    (DOCS / "terminal.svg").write_text(picture, encoding="utf-8")
    print(f"{DOCS / 'terminal.svg'}  {len(picture) / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
