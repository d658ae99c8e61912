"""A real browser: Chromium without a window, which reaches nothing but loopback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from tests.fleet import until

AXE = Path(__file__).parents[2] / ".servers" / "axe.min.js"
OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # the tests run as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)


class Browser:
    """One window with one page."""

    def __init__(self, driver: Chrome) -> None:
        self._driver = driver
        self.open("about:blank")
        self.requests()  # the browser's own first page is not asked about

    def open(self, url: str) -> None:
        """Go there."""
        self._driver.get(url)

    def size(self, width: int, height: int = 900) -> None:
        """Make the window so many CSS pixels large."""
        self._command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    def scheme(self, name: str) -> None:
        """Prefer ``light`` or ``dark``, and little motion."""
        features = [
            {"name": "prefers-color-scheme", "value": name},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self._command("Emulation.setEmulatedMedia", features=features)

    def run(self, script: str, *arguments: Any) -> Any:
        """What the body of a function returns in the page."""
        return self._driver.execute_script(script, *arguments)

    def text(self, selector: str = "body") -> str:
        """What is to be read in an element; "" where there is none."""
        return str(self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def wait_for(self, text: str, selector: str = "body", *, within: float = 15) -> None:
        """Wait until that is to be read there."""
        until(lambda: text in self.text(selector), within=within, what=f"the page shows {text!r}")

    def press(self, key: str) -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            self._command(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode={"Tab": 9, "Enter": 13}[key],
                text="\r" if key == "Enter" else "",
            )

    def picture(self, path: Path) -> None:
        """Keep what is seen, the whole page."""
        height = self.run("return document.documentElement.scrollHeight")
        self.size(self.run("return innerWidth"), height)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._driver.save_screenshot(str(path))

    def complaints(self) -> list[str]:
        """What the console says, but for requests that got no answer; each is told once."""
        return [text for text in self._logged("browser") if "net::ERR_" not in text]

    def requests(self) -> set[str]:
        """The addresses that were asked for since the last call."""
        events = [json.loads(text)["message"] for text in self._logged("performance")]
        return {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}

    def violations(self) -> list[str]:
        """What axe-core finds wrong with the page for people with a keyboard, a screen reader or weak eyes."""
        if not AXE.exists():
            pytest.skip("axe-core is not there: `tests/setup judges` says why")
        self.run(AXE.read_text() + "; window.axe = axe")
        self._driver.set_script_timeout(60)
        found = self._driver.execute_async_script("const done = arguments[0]; axe.run().then(done)")
        return [
            f"{v['id']}: {v['help']}: {n['html']}: {n['failureSummary']}"
            for v in found["violations"]
            for n in v["nodes"]
        ]

    def tree(self) -> list[tuple[str, str]]:
        """Role and name of all that a screen reader tells, in its order."""
        nodes = self._command("Accessibility.getFullAXTree")["nodes"]
        return [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if not n["ignored"]]

    def _logged(self, kind: str) -> list[str]:
        return [entry["message"] for entry in self._driver.get_log(kind)]  # type: ignore[no-untyped-call]

    def _command(self, name: str, **arguments: Any) -> Any:
        return self._driver.execute_cdp_cmd(name, arguments)


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Start one, with its files in ``folder``; skips the test where there is none."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (program and driver):
        pytest.skip("no chromium and chromedriver on PATH; `tests/setup judges` installs them as root on Debian")
    options = ChromeOptions()
    options.binary_location = program
    for option in (*OPTIONS, f"--user-data-dir={folder}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    made = Chrome(options=options, service=ChromeService(driver))
    try:
        yield Browser(made)
    finally:
        made.quit()
