"""YAML that is small as text and enormous as values, or deeper and larger than anybody writes: refused by name."""

import pytest

from trainer.spec.errors import ProblemsError
from trainer.spec.yaml_bounds import MOST_DEPTH
from trainer.spec.yaml_text import YamlText, parse_value, read_text

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 12)
)
MERGES = "a0: &a0 {x0: 1, y0: 1}\n" + "".join(
    f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 10)}], x{level}: 1}}\n" for level in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param(BOMB, r"space:4:\d+: not valid YAML: more than 10,000 keys and values", id="aliases"),
        pytest.param(MERGES, "more than 10,000 keys and values", id="merges"),
        pytest.param("a: " + "[" * 100_000, f"space:1:.*nested deeper than {MOST_DEPTH} levels", id="open brackets"),
        pytest.param("a: " + "[" * 5000 + "]" * 5000, "nested deeper", id="brackets"),
        pytest.param("{a: " * 5000 + "1" + "}" * 5000, "nested deeper", id="mappings"),
        pytest.param("- " * 5000 + "1", "nested deeper", id="dashes"),
        pytest.param("a: &a [1, *a]", "space:1:11: .*an alias contains itself", id="cycle"),
        pytest.param("a: &a {b: *a}", "an alias contains itself", id="cycle of a mapping"),
        pytest.param("a: [" + "1," * 5500 + "]\nb: [" + "1," * 5500 + "]", "more than 10,000", id="many"),
        pytest.param("a: b" + " " * 300_000, "holds more than 200,000 characters", id="long"),
        pytest.param("a: " + "9" * 5000, r"99999999... \(5,000 characters\) is an integer beyond 2\*\*53", id="5000"),
        pytest.param("a: " + "9" * 400, r"space:1:4: .*integer beyond 2\*\*53", id="400"),
        pytest.param("a: 0x" + "f" * 5000, r"integer beyond 2\*\*53", id="hexadecimal"),
        pytest.param("a: -9007199254740993", r"-9007199254740993 is an integer beyond 2\*\*53", id="just beyond"),
        pytest.param("a: 1e400", "1e400 is a number beyond 1.8e308", id="1e400"),
        pytest.param(r'a: "x\ud800"', r"'x\\ud800' holds half of a character", id="half a character"),
        pytest.param("? [a, b]\n: 1", "space:1:3: .*a list cannot be a key", id="list"),
        pytest.param("a: {? {b: 1} : 2}", "a mapping cannot be a key", id="mapping"),
        pytest.param("a: &a [1]\nb: {? *a : 2}", "a list cannot be a key", id="alias of a list"),
    ],
)
def test_what_no_space_or_preset_holds_is_refused_by_name(text, complaint):
    with pytest.raises(ProblemsError, match=complaint):
        YamlText(text, "space")


def test_an_alias_used_twice_and_the_largest_numbers_are_read():
    text = "a: &a [1, 2]\nb: [*a, *a]\nc: 9007199254740992\nd: 1.7e308\ne: .inf\nf: 2**99"
    value = YamlText(text, "space").value
    assert value["b"] == [[1, 2], [1, 2]]
    assert (value["c"], value["d"], value["e"], value["f"]) == (2**53, 1.7e308, float("inf"), "2**99")


def test_a_value_of_the_command_line_has_the_same_bounds():
    for value in ("9" * 5000, "[" * 1000, "1e400"):
        with pytest.raises(ProblemsError, match="--set x"):
            parse_value(value, "--set x")


def test_a_file_too_large_for_a_text_is_not_read(tmp_path):
    path = tmp_path / "space.yaml"
    with path.open("wb") as file:
        file.truncate(10**10)
    with pytest.raises(ProblemsError, match="holds more than 200,000 characters"):
        read_text(path)


def test_a_character_in_the_two_halves_that_json_spells_is_one_character():
    assert YamlText(r'{"a\ud83d\ude00": "\ud83d\ude00"}', "space").value == {"a\U0001f600": "\U0001f600"}
