"""References resolve: citations of docs/recipe.md, links between pages, paths and names they give."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = ("trainer", "orchestrator", "results", "tests", "search_spaces")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("results/*.md")])
FILES = sorted(
    path for folder in CODE for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".yaml", ".md", ".toml")
)
HISTORY = ("LOG.md", "CHANGELOG.md")
"""Pages that tell of a day; what they name may be gone."""
NUMBER = r"\d+(?:\.\d+)?"
CITED = re.compile(  # the number may stand on the next line of a comment
    rf"docs/recipe\.md[\s#]+({NUMBER}(?:-{NUMBER})?(?:(?:,| and|, and)[\s#]+\d+\.\d+(?:-{NUMBER})?)*)"
)
CONDITION = re.compile(r"\bE(\d{1,2})\b")
OLDER_FORM = re.compile(r"recipe notes|notes on the recipe", re.IGNORECASE)


def recipe_page() -> str:
    return (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8")


def known_sections() -> set[str]:
    """Every number that docs/recipe.md gives to a heading, or to an item of its lists of defects and checks."""
    return set(re.findall(rf"^(?:#+ |- \*\*)({NUMBER})[. *]", recipe_page(), re.MULTILINE))


def known_conditions() -> set[str]:
    return set(re.findall(r"^\| E(\d+) ", recipe_page(), re.MULTILINE))


def ends(numbers: str) -> list[str]:
    """'1.5 and 3.3, 2.1-2.9' as its five numbers: of a range both ends are looked up."""
    return re.findall(NUMBER, numbers)


def dangling(text: str) -> Iterator[str]:
    """What a text cites of docs/recipe.md that is not there."""
    sections, conditions = known_sections(), known_conditions()
    for citation in CITED.finditer(text):
        yield from (f"docs/recipe.md {number}" for number in ends(citation[1]) if number not in sections)
    yield from (f"condition E{number}" for number in CONDITION.findall(text) if number not in conditions)
    yield from (f"'{older}': write docs/recipe.md and a number" for older in OLDER_FORM.findall(text))


def test_every_citation_of_the_recipe_page_leads_somewhere():
    pages = [path for path in PAGES if path != ROOT / "docs" / "recipe.md"]
    lost = {}
    for path in [*FILES, *pages]:
        text = path.read_text(encoding="utf-8")
        if path != Path(__file__) and (broken := list(dangling(text))):
            lost[str(path.relative_to(ROOT))] = broken
    assert lost == {}


def test_many_citations_are_found_at_all():
    texts = [path.read_text(encoding="utf-8") for path in FILES if path != Path(__file__)]
    assert sum(len(CITED.findall(text)) for text in texts) > 40
    assert len(known_sections()) > 70
    assert known_conditions() == {str(number) for number in range(1, 17)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Source: docs/recipe.md 3.1, 4.99, 4.8.", ["docs/recipe.md 4.99"]),
        ("(docs/recipe.md 2.1-2.77)", ["docs/recipe.md 2.77"]),
        ("as docs/recipe.md\n    # 12.1 says", ["docs/recipe.md 12.1"]),
        ("(docs/recipe.md 7.28)", ["docs/recipe.md 7.28"]),
        ("(condition E17, docs/recipe.md 1.4)", ["condition E17"]),
        ("recipe notes 3.1", ["'recipe notes': write docs/recipe.md and a number"]),
        ("docs/recipe.md 1.5 and 3.3, and conditions E1-E16. docs/recipe.md 7.27, 27 of them", []),
    ],
)
def test_a_made_up_citation_is_noticed(text, expected):
    assert list(dangling(text)) == expected


def test_the_recipe_page_refers_to_itself_rightly():
    """'section 10', '(7.11)' and 'see 7.22' within the page."""
    page = recipe_page()
    named = re.findall(rf"\bsections? ({NUMBER})", page) + re.findall(r"\((?:see )?(\d{1,2}\.\d{1,2})\)", page)
    assert len(named) > 15
    assert [number for number in named if number not in known_sections()] == []


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {slug(heading) for heading in re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), re.MULTILINE)}


def broken_links(page: Path, root: Path = ROOT) -> list[str]:
    """Relative links of a page that lead to no file below root, or to no heading of one."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page.resolve()
        there = target.exists() and target.is_relative_to(root.resolve())
        if not re.match(r"[a-z]+:", link) and not (there and (not anchor or anchor in anchors(target))):
            broken.append(link)
    return broken


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_pages_resolve(path):
    assert broken_links(path) == []


@pytest.mark.parametrize("path", [path for path in PAGES if path.name not in HISTORY], ids=lambda path: path.name)
def test_files_that_a_page_names_exist(path):
    named = re.findall(rf"`((?:{'|'.join(CODE)}|docs)/[\w./-]+)`", path.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_a_broken_link_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One heading\n[here](#one-heading) [gone](gone.md) [out](https://example.org) [not](#two)\n")
    assert broken_links(page, tmp_path) == ["gone.md", "#two"]
