"""A headless Chromium that opens a file, and tells what it did: requests, messages, seconds, a picture.

Needs Debian's chromium and chromium-driver (or their like on the path) and selenium; `missing` says what is not there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

try:
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service
except ImportError:
    Chrome = None

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-quic",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip


def missing() -> str:
    """Why no browser can be started here, or the empty string."""
    if Chrome is None:
        return "selenium is not installed"
    programs = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"{' and '.join(programs)} not found on the path" if programs else ""


@contextmanager
def browser(profile: Path) -> Iterator[Any]:
    """A fresh browser with its profile in an empty folder; closed at the end."""
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        driver.get("about:blank")  # away from the start page, which loads much of its own
        driver.get_log("performance")
        yield driver
    finally:
        driver.quit()


def prefer(driver: Any, scheme: Literal["light", "dark"]) -> None:
    """What the reader's system prefers."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def opened_s(driver: Any, page: Path) -> float:
    """Opens the file and returns seconds until it was loaded, laid out and painted."""
    driver.get(page.as_uri())
    return driver.execute_async_script(
        "const done = arguments[0]; document.body.offsetHeight;"
        "requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() / 1000)));"
    )


def requests(driver: Any) -> list[str]:
    """Addresses asked for since the last look."""
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


def messages(driver: Any) -> list[str]:
    """What the console says: errors and warnings of the page."""
    return [entry["message"] for entry in driver.get_log("browser")]


def screenshot(driver: Any, path: Path, width: int = 1100) -> Path:
    """The whole page as PNG."""
    height = driver.execute_script("return document.documentElement.scrollHeight")
    driver.set_window_size(width, min(height, 16_000))
    driver.save_screenshot(str(path))
    return path
