"""Opens a page in a real browser and records what a reader sees."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, sync_playwright

_ARGUMENTS = (
    "--no-sandbox",  # it is started as root in containers
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
Scheme = Literal["dark", "light"]

PHONE = (390, 844)
DESKTOP = (1280, 900)


@dataclass
class Seen:
    """The observations on one page."""

    title: str = ""
    text: str = ""
    problems: list[str] = field(default_factory=list)
    """Console messages, uncaught errors and network requests of the page."""

    sections: list[str] = field(default_factory=list)
    images: int = 0
    undrawn: list[str] = field(default_factory=list)
    """Alternatives of images that were not drawn."""

    charts: list[str] = field(default_factory=list)
    """Text alternatives of charts that have a size."""

    without_alternative: int = 0
    width_px: int = 0
    background: str = ""


def look(
    program: str, path: Path, size: tuple[int, int] = DESKTOP, scheme: Scheme = "light"
) -> Seen:
    """Opens a file with this screen size and colour scheme.

    The browser starts and ends in this call: while Playwright runs, it keeps an event loop
    running, and other tests of the process have event loops of their own.
    """
    with started(program) as browser:
        return _look(browser, path, size, scheme)


@contextlib.contextmanager
def started(program: str) -> Iterator[Browser]:
    """A context with a running browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


def _look(browser: Browser, path: Path, size: tuple[int, int], scheme: Scheme) -> Seen:
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,
        offline=True,
    )
    seen = Seen()
    try:
        page = context.new_page()
        page.on("console", lambda message: seen.problems.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: seen.problems.append(f"raised: {error}"))
        page.on(
            "request",
            lambda request: (
                seen.problems.append(f"request: {request.url[:100]}")
                if not request.url.startswith(("data:", path.as_uri()))
                else None
            ),
        )
        page.goto(path.as_uri())
        seen.title = page.title()
        seen.text = page.inner_text("body")
        seen.sections = page.eval_on_selector_all("section[id]", "all => all.map(s => s.id)")
        images = page.eval_on_selector_all(
            "img", "all => all.map(i => [i.alt, i.complete && i.naturalWidth > 1])"
        )
        seen.images = len(images)
        seen.undrawn = [alternative for alternative, drawn in images if not drawn]
        seen.charts = page.eval_on_selector_all(
            "[role=img]:has(svg)",
            "all => all.filter(c => c.querySelector('svg').getBoundingClientRect().height > 50"
            " && c.querySelectorAll('svg path').length > 5).map(c => c.ariaLabel)",
        )
        seen.without_alternative = page.evaluate(
            "document.querySelectorAll('img:not([alt]), img[alt=\"\"], svg:not([aria-hidden])')"
            ".length"
        )
        seen.width_px = page.evaluate("document.documentElement.scrollWidth")
        seen.background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    finally:
        context.close()
    return seen
