"""A headless Chromium that opens a file, and tells what it did: requests, messages, seconds, a picture.

Needs Debian's chromium and chromium-driver (or their like on the path) and selenium; `missing` says what is not there.
"""

from __future__ import annotations

import base64
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


def printed_pages(driver: Any) -> int:
    """On how many pages of A4 it prints."""
    a4 = {"paperWidth": 8.27, "paperHeight": 11.69}
    pdf = base64.b64decode(driver.execute_cdp_cmd("Page.printToPDF", a4)["data"])
    return pdf.count(b"/Type /Page\n")


def contrast(driver: Any, selector: str) -> float:
    """Contrast between the first such element's text and the page behind it, as WCAG 2 defines it: 1 to 21."""
    return driver.execute_script(CONTRAST, selector)


CONTRAST = """
const element = document.querySelector(arguments[0]);
const channels = (colour) => colour.match(/[0-9.]+/g).map(Number);
const luminance = (colour) => {
  const [r, g, b] = channels(colour).slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (at) => {
  const colour = getComputedStyle(at).backgroundColor;
  return channels(colour)[3] === 0 ? behind(at.parentElement) : colour;
};
const style = getComputedStyle(element);
const text = luminance(element instanceof SVGElement ? style.fill : style.color);
const paper = luminance(behind(element));
return (Math.max(text, paper) + 0.05) / (Math.min(text, paper) + 0.05);
"""
