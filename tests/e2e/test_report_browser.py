"""The sweep's page in a real browser: drawn, quiet, asking nobody for anything, light and dark."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

from embedsweep.reporting.page import sweep_page
from tests.unit.sweep_findings import sweep_findings

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 60
LIGHT, DARK = "1", "0"

LOOK = """
const one = query => document.querySelector(query);
const styled = (query, name) => getComputedStyle(one(query))[name];
const first = () => one("table.sortable tbody tr").cells[0].textContent;
const before = first();
one("th:nth-child(2) button").click();
const falling = first();
one("th:nth-child(2) button").click();
const mark = one("svg [data-tip]");
mark.dispatchEvent(new PointerEvent("pointermove", {bubbles: true, clientX: 9, clientY: 9}));
const seen = {
  paper: styled("body", "backgroundColor"), ink: styled("h1", "color"),
  before, falling, rising: first(), tip: one("#tip").textContent, wanted: mark.dataset.tip,
  charts: [...document.querySelectorAll("svg.chart")].map(each => each.clientHeight),
  overflow: document.documentElement.scrollWidth - innerWidth,
};
"""


@dataclass(frozen=True)
class Visit:
    """What a browser did with a page.

    Attributes:
        dom: The page when it was done.
        console: What the page wrote there, errors above all.
        asked: The addresses the page asked for.
    """

    dom: str
    console: list[str]
    asked: list[str]

    @property
    def seen(self) -> Any:
        found = re.search(r'data-seen="([^"]*)"', self.dom)
        assert found, self.dom[-2000:]
        return json.loads(unescape(found[1]))


@pytest.fixture(scope="module")
def browser() -> str:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"there is no browser; looked for {', '.join(BROWSERS)}")
    return found


def visit(browser: str, page: str, folder: Path, scheme: str = LIGHT) -> Visit:
    # A sandboxed frame in a process of its own may be drawn before it hears of the scheme.
    file, log = folder / "page.html", folder / "net.json"
    file.write_text(page, encoding="utf-8")
    ended = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-features=IsolateSandboxedIframes",
            "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--v=0",
            f"--blink-settings=preferredColorScheme={scheme}", "--window-size=1000,900",
            f"--user-data-dir={folder / 'browser'}", f"--log-net-log={log}",
            "--virtual-time-budget=2000", "--dump-dom", file.as_uri(),
        ],
        capture_output=True, text=True, timeout=PATIENCE, check=True,
    )  # fmt: skip
    console = [line for line in ended.stderr.splitlines() if ":CONSOLE" in line]
    told = [each.get("params", {}) for each in json.loads(log.read_text())["events"]]
    # What the browser itself asks of its makers has no origin.
    asked = [each["url"] for each in told
             if str(each.get("url", "")).startswith("http")
             and each.get("initiator") not in (None, "not an origin")]  # fmt: skip
    return Visit(ended.stdout, console, asked)


def looked_at(page: str, tell: str) -> str:
    """The page with a script at its end that looks at it and tells what it saw."""
    return page.replace("</body>", f"<script>{LOOK}{tell}</script></body>")


def test_the_page_is_drawn_and_works_and_asks_nobody(browser: str, tmp_path: Path) -> None:
    page = sweep_page(sweep_findings())
    seen_here = "document.body.dataset.seen = JSON.stringify(seen);"
    visited = visit(browser, looked_at(page, seen_here), tmp_path)
    seen = visited.seen
    assert visited.console == []
    assert visited.asked == []
    assert seen["paper"] == "rgb(253, 253, 251)"
    assert len(seen["charts"]) >= 7
    assert min(seen["charts"]) > 60
    assert seen["overflow"] <= 0
    assert seen["falling"] == seen["before"]
    assert seen["rising"] != seen["before"]
    assert seen["tip"] == seen["wanted"] != ""


def test_the_page_works_in_a_sandboxed_frame_and_in_the_dark(browser: str, tmp_path: Path) -> None:
    tell = "parent.postMessage(JSON.stringify(seen), '*');"
    inner = escape(looked_at(sweep_page(sweep_findings()), tell))
    outer = (
        "<!doctype html><html><body><script>addEventListener('message', event =>"
        " { document.body.dataset.seen = event.data; });</script>"
        f'<iframe sandbox="allow-scripts" width="900" height="800" srcdoc="{inner}"></iframe>'
        "</body></html>"
    )
    visited = visit(browser, outer, tmp_path, DARK)
    assert visited.console == []
    assert visited.asked == []
    assert visited.seen["paper"] == "rgb(21, 24, 27)"
    assert visited.seen["tip"] == visited.seen["wanted"]


def test_errors_and_requests_would_be_seen(browser: str, tmp_path: Path) -> None:
    page = '<!doctype html><body><img src="http://example.invalid/x.png"><script>no()</script>'
    visited = visit(browser, page, tmp_path)
    assert visited.asked == ["http://example.invalid/x.png"]
    assert any("no is not defined" in line for line in visited.console)
