"""The page of `mnist-tfx demo`, in a real browser and over HTTP, on a finished workspace."""

import io
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import httpx
import numpy as np
import pytest
from doubles import browser
from doubles.local_runs import LocalRuns
from doubles.snapshots import Snapshot
from PIL import Image
from playwright.sync_api import Page, Route, expect

from components.images.idx_format import ImagesAndLabels
from pipeline.runs.workspace import Workspace
from serving.client import Client

DRAWN = 12  # digits
ANSWER_TIMEOUT_MS = 60_000


class Demo(NamedTuple):
    """A running page."""

    url: str
    server: str
    runs: LocalRuns


@pytest.fixture(scope="module")
def demo(second_run: tuple[LocalRuns, Snapshot]) -> Iterator[Demo]:
    runs, snapshot = second_run
    snapshot.restore()
    command = [sys.executable, "-m", "pipeline.cli", "demo", "--name", "digits", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--root", runs.root, "--data-dir", runs.data, "--no-browser"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        page, server = process.stdout.readline().split(), process.stdout.readline().split()
        assert page[0] == "page" and server[0] == "server"
        with Client(server[1], "digits") as client:
            client.wait_until_ready(timeout_s=240)
        yield Demo(page[1], server[1], runs)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def api(demo: Demo) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=demo.url, timeout=60) as client:
        yield client


def _png(image: np.ndarray, size: int = 280) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).resize((size, size), Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()


@contextmanager
def _opened(demo: Demo, program: str) -> Iterator[Page]:
    """The page in a browser; no message in its console, and no request to anybody else."""
    with browser.started(program) as chromium:
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        problems: list[str] = []
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((demo.url, "blob:"))
                else problems.append(request.url)
            ),
        )
        page.goto(demo.url)
        yield page
        assert problems == []


def _draw(page: Page, image: np.ndarray) -> None:
    """Draws an image with the mouse, row by row; the pen is two of its pixels wide."""
    box = page.locator("#pad").bounding_box()
    assert box is not None
    scale = box["width"] / 28
    for y, row in enumerate(image > 160):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]])))
        for start, end in edges.reshape(-1, 2):
            height = box["y"] + (y + 0.5) * scale
            page.mouse.move(box["x"] + (start + 0.5) * scale, height)
            page.mouse.down()
            page.mouse.move(box["x"] + (end - 0.5) * scale, height, steps=2)
            page.mouse.up()


def _wait_for_the_answer(page: Page) -> None:
    """To the whole drawing, with the feature maps."""
    busy = page.locator("#answer")
    expect(busy).to_have_attribute("aria-busy", "false", timeout=ANSWER_TIMEOUT_MS)


def test_drawn_digits_are_recognized(
    demo: Demo, chromium: str, test_digits: ImagesAndLabels
) -> None:
    """The test images that the model itself is sure of."""
    with Client(demo.server, "digits") as client:
        prediction = client.predict(test_digits.images)
    sure = prediction.probabilities.max(axis=1) > 0.95
    right = np.flatnonzero(sure & (prediction.digits == test_digits.labels))[:DRAWN]
    assert len(right) == DRAWN
    recognized = 0
    with _opened(demo, chromium) as page:
        for index in right:
            page.click("#clear")
            _wait_for_the_answer(page)
            expect(page.locator("#digit")).to_have_text("–")
            _draw(page, test_digits.images[index])
            _wait_for_the_answer(page)
            digit = page.inner_text("#digit")
            assert page.inner_text("#result").startswith(f"{digit}, probability ")
            recognized += digit == str(test_digits.labels[index])
        expect(page.locator("#maps canvas")).to_have_count(5 + 2 * 3)
        expect(page.locator("#grid td")).to_have_count(81)
        assert page.locator("#grid td.middle").inner_text().startswith(digit)
        version = demo.runs.versions[-1]
        assert f"Version {version} answered in" in page.inner_text("#facts")
    assert recognized >= 0.9 * DRAWN


def test_an_answer_after_its_details_ends_the_waiting(
    demo: Demo, chromium: str, test_digits: ImagesAndLabels
) -> None:
    held: list[Route] = []
    with _opened(demo, chromium) as page:
        page.route("**/api/answer", lambda route: held.append(route))
        with page.expect_response("**/api/layers", timeout=ANSWER_TIMEOUT_MS):
            _draw(page, test_digits.images[0])
        expect(page.locator("#maps canvas")).to_have_count(5 + 2 * 3)
        expect(page.locator("#answer")).to_have_attribute("aria-busy", "true")
        for route in held:
            route.continue_()
        page.unroute("**/api/answer")
        _wait_for_the_answer(page)
        expect(page.locator("#digit")).not_to_have_text("–")


def test_the_keyboard_draws_and_the_answer_is_read_aloud(demo: Demo, chromium: str) -> None:
    with _opened(demo, chromium) as page:
        page.focus("#pad")
        for key, count in (("ArrowUp", 9), (" ", 1), ("ArrowDown", 18)):
            for _ in range(count):
                page.keyboard.press(key)
        spoken = page.locator("#result[role=status][aria-live=polite]")
        expect(spoken).to_have_text(
            re.compile(r"1, probability \d+\.\d %"), timeout=ANSWER_TIMEOUT_MS
        )
        page.keyboard.press("Delete")
        expect(spoken).to_have_text("The answer appears here.", timeout=ANSWER_TIMEOUT_MS)


def test_a_photo_of_a_sheet_is_read(
    demo: Demo, chromium: str, test_digits: ImagesAndLabels
) -> None:
    sheet = _png(255 - test_digits.images[0])
    with _opened(demo, chromium) as page:
        files = {"name": "sheet.png", "mimeType": "image/png", "buffer": sheet}
        page.set_input_files("#file", files)  # type: ignore[arg-type]
        expect(page.locator("#digit")).not_to_have_text("–", timeout=ANSWER_TIMEOUT_MS)


def test_roll_back_asks_first(demo: Demo, chromium: str) -> None:
    first, second = demo.runs.versions
    with _opened(demo, chromium) as page:
        serve = page.get_by_role("button", name=f"Serve version {first}")
        serve.click()
        page.get_by_role("button", name="Cancel").click()
        assert demo.runs.versions == [first, second]
        serve.click()
        page.get_by_role("button", name="Serve it").click()
        back = page.get_by_role("button", name=f"Serve version {second}")
        expect(page.locator("#version-table")).to_contain_text("withdrawn")
        assert demo.runs.versions == [first]
        back.click()
        page.get_by_role("button", name="Serve it").click()
        expect(page.locator("#version-table")).not_to_contain_text("withdrawn")
        assert demo.runs.versions == [first, second]


@pytest.mark.parametrize("size", [browser.PHONE, browser.DESKTOP])
@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_it_fits_the_screen(
    demo: Demo, chromium: str, size: tuple[int, int], scheme: browser.Scheme
) -> None:
    with browser.started(chromium) as program:
        page = program.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
        page.goto(demo.url)
        page.click("#sample")
        expect(page.locator("#grid td")).to_have_count(81, timeout=ANSWER_TIMEOUT_MS)
        assert page.evaluate("document.documentElement.scrollWidth") == size[0]
        unnamed = "button:not([aria-label]):empty, canvas:not([aria-label]), input:not([id])"
        assert page.locator(unnamed).count() == 0
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(22, 22, 21)") == (scheme == "dark")


def test_the_answers_are_those_of_the_served_model(
    demo: Demo, api: httpx.Client, test_digits: ImagesAndLabels
) -> None:
    image = test_digits.images[0]
    answer = api.post("/api/answer", content=_png(image, 28)).json()
    with Client(demo.server, "digits") as client:
        expected = client.predict(image[np.newaxis]).probabilities[0]
        maps = client.feature_maps(image[np.newaxis])
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-6)
    assert answer["version"] == demo.runs.versions[-1]
    shifts = api.post("/api/shifts", content=_png(image, 28)).json()
    assert [len(row) for row in shifts] == [9] * 9
    assert shifts[4][4] == pytest.approx(
        {"digit": answer["prediction"], "probability": answer["probability"]}, abs=1e-6
    )
    with Client(demo.server, "digits") as client:
        up = client.predict(np.roll(image, -2, axis=0)[np.newaxis]).probabilities.max()
    assert shifts[2][4]["probability"] == pytest.approx(up, abs=1e-6), "two pixels up"
    layers = api.post("/api/layers", content=_png(image, 28)).json()
    assert {layer["name"] for layer in layers} == set(maps)
    assert [layer["name"] for layer in layers if "used" in layer] == [
        *("pooling_1", "pooling_2", "pooling_3")
    ]
    assert {layer["used"] for layer in layers if "used" in layer} == {"max"}


def test_runs_versions_and_reports(demo: Demo, api: httpx.Client) -> None:
    found = api.get("/api/workspace").json()
    records = Workspace(demo.runs.root).records()
    assert [run["run_id"] for run in found["runs"]] == [r.run_id for r in reversed(records)]
    assert [run["result"] for run in found["runs"]] == ["pushed", "pushed"]
    assert [v["version"] for v in found["versions"]] == demo.runs.versions[::-1]
    assert found["running"] is None and api.get("/api/progress").json() is None
    report = api.get(f"/report/{records[0].run_id}")
    assert "<title>digits: pushed" in report.text
    assert "default-src 'none'" in report.headers["Content-Security-Policy"]
    assert api.get("/report/none").status_code == 404
    card = api.get(f"/card/{demo.runs.versions[0]}")
    assert f"Version: {demo.runs.versions[0]}" in card.text
    assert api.get("/card/5").status_code == 404


@pytest.mark.parametrize(
    ("path", "content", "status", "message"),
    [
        ("/api/answer", b"no picture", 400, "the picture cannot be read: "),
        ("/api/answer?polarity=x", b"", 400, "the picture cannot be read: 'x' is not a valid"),
        ("/api/answer", b"x" * (9 << 20), 400, "8 MiB are the maximum of a request."),
        ("/api/rollback", b"[]", 400, "expected a JSON object."),
        ("/api/rollback", b"{}", 400, 'expected {"version": NUMBER}.'),
        ("/api/rollback", b'{"version": 5}', 409, "contains no version 5"),
    ],
)
def test_bad_requests_get_a_sentence(
    api: httpx.Client, path: str, content: bytes, status: int, message: str
) -> None:
    answer = api.post(path, content=content)
    assert answer.status_code == status
    assert message in answer.json()["error"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 400),  # DNS rebinding
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_other_sites_change_nothing(
    demo: Demo, api: httpx.Client, headers: dict[str, str], status: int
) -> None:
    before = demo.runs.versions
    content = f'{{"version": {before[0]}}}'
    assert api.post("/api/rollback", content=content, headers=headers).status_code == status
    assert demo.runs.versions == before
