"""A browser, and ways to the service that all tests share, for the tests of the page."""

import csv
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect, sync_playwright

from periogt_ray.artifacts.card import read_examples
from periogt_ray.artifacts.directory import ArtifactDirectory
from periogt_ray.batch.report import write_report
from periogt_ray.settings import EMBEDDED_DIR
from periogt_ray.tables.predictions import OUTPUT_COLUMNS
from support.served_process import ServedProcess
from support.way import KEY, Way, way_to

AXE = Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js"
PATIENCE_MS = 30_000  # a loaded machine is many times slower than an idle one


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Of one module alone: while it lasts, an event loop runs in this thread.
    program = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    assert program, "chromium is missing; scripts/test installs it (Debian: apt-get install chromium-headless-shell)"
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        # Inside a container there is no user namespace for the browser's sandbox.
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def way(service: ServedProcess) -> Iterator[Way]:
    """A way to the service that adds the key, so that the page sees a service without one."""
    with way_to(service.url, key=KEY) as found:
        yield found


class Opened:
    """Opens pages and holds them to what every page must keep."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self.complaints: list[str] = []
        self.addresses: list[str] = []

    def __call__(self, url: str, *, key: str | None = None, **options: object) -> Page:
        context = self._browser.new_context(accept_downloads=True, **options)  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE_MS)
        context.add_init_script(path=AXE)
        if key is not None:
            context.add_init_script(f"sessionStorage.setItem('periogt-key', {key!r})")
        self._contexts.append(context)
        page = context.new_page()
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        page.on("request", self._asked)
        page.goto(url)
        return page

    def _heard(self, message: ConsoleMessage) -> None:
        # Answers that are errors, and a way that is closed, are what some tests are about.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    def _asked(self, request: Request) -> None:
        self.addresses.append(request.url)

    def close(self) -> None:
        for context in self._contexts:
            context.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open pages; at the end, nothing may have been loaded from elsewhere, and nothing complained."""
    opened = Opened(browser)
    with ExitStack() as stack:
        stack.callback(opened.close)
        yield opened
    assert opened.complaints == []
    outside = [url for url in opened.addresses if not url.startswith(("http://127.0.0.1:", "blob:", "data:", "file:"))]
    assert outside == []


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A batch report over the shipped examples, a long chain and failures, with values of no meaning."""
    folder = tmp_path_factory.mktemp("report")
    artifacts = ArtifactDirectory.open(EMBEDDED_DIR)
    output = folder / "out.csv"
    chosen = random.Random(7)
    with output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(OUTPUT_COLUMNS)
        polymers = [*((one.name, one.smiles) for one in read_examples()), ("long chain", f"*{'C' * 80}*")]
        for i, (name, smiles) in enumerate(polymers * 30):
            for info in artifacts.properties.values():
                value = repr(chosen.gauss(4, 1.5))
                good = [value, info.units, "true", "", ""]
                bad = ["", "", "false", "validation_error", "The SMILES '<b>*CC' has 1 connection point."]
                writer.writerow([name, smiles, info.id, *(bad if i % 17 == 3 else good), "r"])
    summary = {
        "input": str(folder / "polymers & co.csv"), "output": str(output), "n_input_rows": 30 * len(polymers),
        "device": "cpu", "elapsed_s": 61.5, "rows_per_s": 8.3,
        "basis": {"input_sha256": "0" * 64, "properties": list(artifacts.properties), "artifacts": "1" * 64,
                  "descriptor_engine": "native", "version": "0"},
    }  # fmt: skip
    path = folder / "report.html"
    write_report(path, output, summary=summary, artifacts=artifacts)
    return path
