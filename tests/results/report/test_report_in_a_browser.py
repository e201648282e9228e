"""The report in a real browser: light and dark, silent, without a network, and printable."""

import pytest
from PIL import Image

from results.report.report import write_report
from tests import browser as real
from tests.results.made_up import sweep_results

pytestmark = pytest.mark.skipif(bool(real.missing()), reason=real.missing() or "a browser is there")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    made = sweep_results(24, folder=tmp_path_factory.mktemp("stages"), name="<b>bold</b>")
    return write_report(made, tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with real.browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


def luminance(picture):
    return Image.open(picture).convert("L").resize((1, 1)).getpixel((0, 0))


def test_it_opens_alone_and_says_nothing_on_the_console(driver, page):
    real.opened_s(driver, page)
    assert real.requests(driver) == [page.as_uri()]
    assert real.messages(driver) == []
    assert driver.find_element("tag name", "h1").text == "Sweep <b>bold</b>"


@pytest.mark.parametrize(("scheme", "darkest", "lightest"), [("light", 200, 255), ("dark", 0, 80)])
def test_it_follows_the_readers_light_or_dark(driver, page, tmp_path, scheme, darkest, lightest):
    real.prefer(driver, scheme)
    real.opened_s(driver, page)
    picture = real.screenshot(driver, tmp_path / f"{scheme}.png")
    assert darkest <= luminance(picture) <= lightest
    assert Image.open(picture).getextrema()[0][1] > 200  # something light is there in the dark as well


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_and_so_can_the_words_in_figures(driver, page, scheme):
    """WCAG asks for a contrast of 4.5 between text and what is behind it."""
    real.prefer(driver, scheme)
    real.opened_s(driver, page)
    for selector in ("body", "figcaption", "a", "summary", "pre", ".callout p", ".callout-title", "svg text"):
        assert real.contrast(driver, selector) >= 4.5, selector


@pytest.fixture
def telephone(driver):
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    yield driver
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_nothing_is_wider_than_a_telephone_and_no_figure_scrolls(telephone, page):
    real.opened_s(telephone, page)
    assert telephone.execute_script("return document.documentElement.scrollWidth <= 390")
    wider = "return [...document.querySelectorAll('.wide')].filter(e => e.scrollWidth > e.clientWidth + 1)"
    assert telephone.execute_script(f"{wider}.map(e => e.innerText)") == []


def test_headline_figure_table_and_next_command_are_on_the_first_screen(driver, page):
    driver.set_window_size(1280, 1100)
    real.opened_s(driver, page)
    ends = "return [...document.querySelectorAll('.answer > *')].map(e => e.getBoundingClientRect().bottom)"
    assert max(driver.execute_script(ends)) <= 1000


def test_captions_above_wide_tables_fit_a_telephone(driver, page):
    driver.set_window_size(500, 900)
    real.opened_s(driver, page)
    seen = "return [...document.querySelectorAll('main > section > .wide caption')].map(e => e.clientWidth)"
    widths = driver.execute_script(seen)
    assert widths
    assert max(widths) <= driver.execute_script("return document.documentElement.clientWidth")


def test_it_prints_on_five_pages(driver, page):
    real.opened_s(driver, page)
    assert 3 <= real.printed_pages(driver) <= 5
