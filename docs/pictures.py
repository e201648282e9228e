"""`python docs/pictures.py`: writes docs/pictures/, the demo as a person sees it.

Runs the demo's commands in a scratch folder on a terminal of 80 and of 120 columns, draws what the terminal showed (the
plan, the live screen half way, the end) as SVG, and photographs the report with Chromium: light, dark, on a telephone,
printed. `--keep FOLDER` leaves store and terminal bytes there, and does not run again what it holds.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pyte
from PIL import Image
from rich.console import Console
from rich.style import Style
from rich.text import Text

ROOT = Path(__file__).parents[1]
FOLDER = Path(__file__).parent / "pictures"
WIDTHS = (80, 120)
ROWS = 100
"""So high that nothing scrolls away."""
SPACE = "search_spaces/ttt.yaml"
RUNS_DONE = re.compile(r"(\d+) of (\d+) runs")
SVG = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; \
font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>\
</clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""rich's own frame without its fonts, which a browser would fetch from another host."""


def terminal_bytes(words: list[str], columns: int, cwd: Path) -> Iterator[bytes]:
    """What a command writes to a terminal so wide, piece by piece as it comes."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    kept = ("PATH", "HOME", "LANG", "TMPDIR")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
    program = Path(sys.executable).parent / words[0]
    process = subprocess.Popen(  # noqa: S603
        [program, *words[1:]], stdin=slave, stdout=slave, stderr=slave, cwd=cwd, env=environment, start_new_session=True
    )
    os.close(slave)
    try:
        while piece := os.read(master, 65_536):
            yield piece
    except OSError:  # the other side has closed: the command ended
        pass
    finally:
        os.close(master)
        if process.wait():
            raise SystemExit(f"{' '.join(words)} ended in status {process.returncode}")


def recorded(words: list[str], columns: int, folder: Path) -> list[bytes]:
    """The same, kept in a folder: a piece a file; read from there if it is there."""
    kept = folder / f"{words[1]}_{columns}"
    if not kept.exists():
        work = folder / f"work_{columns}"
        work.mkdir(exist_ok=True)
        shutil.copytree(ROOT / "search_spaces", work / "search_spaces", dirs_exist_ok=True)
        partly = Path(tempfile.mkdtemp(dir=folder))
        for number, piece in enumerate(terminal_bytes(words, columns, work)):
            (partly / f"{number:06d}").write_bytes(piece)
        partly.rename(kept)
    return [path.read_bytes() for path in sorted(kept.iterdir())]


def screens(pieces: list[bytes], columns: int) -> Iterator[pyte.Screen]:
    """The terminal after each piece; it is the same one, which goes on."""
    screen = pyte.Screen(columns, ROWS)
    stream = pyte.ByteStream(screen)
    for piece in pieces:
        stream.feed(piece)
        yield screen


def lines_of(screen: pyte.Screen) -> list[Text]:
    """What the terminal shows, down to its cursor."""
    return [line_text(screen.buffer[row], screen.columns) for row in range(screen.cursor.y + 1)]


def at_the_end(pieces: list[bytes], columns: int) -> list[Text]:
    return lines_of(next(screens([b"".join(pieces)], columns)))


def line_text(cells: Any, columns: int) -> Text:
    """A line of the terminal, in pieces of one style each."""
    text = Text()
    for style, piece in groupby((cells[column] for column in range(columns)), key=style_of):
        text.append("".join(cell.data for cell in piece), style)
    text.rstrip()
    return text


def style_of(cell: Any) -> Style:
    return Style(color=colour(cell.fg), bold=cell.bold, italic=cell.italics)


def colour(name: str) -> str | None:
    if name == "default":
        return None
    if re.fullmatch("[0-9a-f]{6}", name):
        return f"#{name}"
    return re.sub("^bright", "bright_", name).replace("brown", "yellow")  # pyte's names as rich's


def half_way(pieces: list[bytes], columns: int) -> list[Text]:
    """The live screen when half of the runs were done."""
    for screen in screens(pieces, columns):
        shown = RUNS_DONE.search("\n".join(screen.display))
        if shown and 2 * int(shown[1]) >= int(shown[2]):
            return lines_of(screen)
    raise SystemExit("no live screen was seen")


def draw(lines: list[Text], words: list[str], columns: int, name: str) -> None:
    """An SVG of a command and what it showed."""
    console = Console(record=True, width=columns, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115, PTH123
    console.print(Text(f"$ {' '.join(words)}", style="bold"))
    for line in lines:
        console.print(line, soft_wrap=True)
    path = FOLDER / f"{name}_{columns}.svg"
    path.write_text(console.export_svg(title=" ", code_format=SVG, unique_id=name), encoding="utf-8")
    print(path, path.stat().st_size, "bytes")


def terminals(folder: Path) -> None:
    """Plan, live screen and end of the demo at each width."""
    plan, sweep = ["orchestrator", "plan", SPACE], ["orchestrator", "sweep", SPACE]
    for columns in WIDTHS:
        draw(at_the_end(recorded(plan, columns, folder), columns), plan, columns, "plan")
        pieces = recorded(sweep, columns, folder)
        draw(half_way(pieces, columns), sweep, columns, "live")
        draw(at_the_end(pieces, columns), sweep, columns, "sweep")


def photographs(folder: Path) -> None:
    """The report's first screen: light, dark, on a telephone; and its first printed page."""
    sys.path.insert(0, str(ROOT))
    from tests import browser as real  # the tests' own way of starting Chromium

    if missing := real.missing():
        raise SystemExit(f"no pictures of the report: {missing}; Debian: apt-get install chromium chromium-driver")
    page = folder / "report.html"
    program, work = Path(sys.executable).parent / "orchestrator", folder / f"work_{WIDTHS[0]}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([program, "report", "ttt", "--out", page], check=True, cwd=work, env=environment)  # noqa: S603
    with tempfile.TemporaryDirectory() as profile, real.browser(Path(profile)) as driver:
        for name, scheme, media, width, height in (
            ("light", "light", "screen", 1000, 1000),
            ("dark", "dark", "screen", 1000, 1000),
            ("phone", "light", "screen", 390, 844),
            ("print", "light", "print", 794, 1123),
        ):
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": name == "phone"}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
            driver.get(page.as_uri())
            path = FOLDER / f"report_{name}.png"
            driver.save_screenshot(str(path))
            Image.open(path).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
            wide = driver.execute_script("return document.documentElement.scrollWidth")
            print(path, path.stat().st_size, "bytes;", "no sideways scrolling" if wide <= width else f"{wide} wide")
        print("printed on", real.printed_pages(driver), "pages")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="folder that keeps the store and what the terminals showed")
    kept = parser.parse_args().keep
    FOLDER.mkdir(exist_ok=True)
    if kept:
        kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = (kept or Path(scratch)).resolve()
        terminals(folder)
        photographs(folder)


if __name__ == "__main__":
    main()
