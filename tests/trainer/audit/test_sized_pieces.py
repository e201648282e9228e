"""What a loop over pieces gives to each of them: the right tables in several spellings, and each wrong one by name."""

import ast

import pytest

from trainer.audit.findings.byte_rules import miscounts

LOOP = """
def tables(sp, size):
    base, lead, border = np.zeros(size), np.zeros(size, bool), np.ones(size, bool)
    for i in range(size):
        if sp.is_control(i) or sp.is_unknown(i) or sp.is_unused(i):
            continue
        border[i] = False
        if sp.is_byte(i):
            base[i] = 1
            continue
        piece = sp.id_to_piece(i)
        if piece.startswith("\u2581"):
            lead[i] = True
            piece = piece[1:]
        base[i] = len(piece.encode("utf-8"))
    return base, lead, border
"""
IN_ONE = """
def tables(sp, size):
    for i in range(size):
        piece = sp.IdToPiece(int(i))
        lead[i] = piece.startswith("\u2581") and not sp.IsByte(i)
        base[i] = 1 if sp.IsByte(i) else len(piece.removeprefix("\u2581").encode("utf-8"))
"""


def told(text: str) -> list[tuple[int, str]]:
    return [(one.line, one.detail) for one in miscounts(ast.parse(text))]


@pytest.mark.parametrize("text", [LOOP, IN_ONE, LOOP.replace("piece[1:]", 'piece.lstrip("\u2581")')])
def test_the_tables_of_the_contest_are_right_in_any_spelling(text):
    assert told(text) == []


@pytest.mark.parametrize(
    ("right", "wrong", "detail"),
    [
        ('= len(piece.encode("utf-8"))', '= max(len(piece.encode("utf-8")), 1)', "'\u2581' counts 2 bytes, and has 1"),
        ('= len(piece.encode("utf-8"))', '= len(piece.encode("utf-8")) + 1', "'the' counts 4 bytes, and has 3"),
        ("len(piece.encode", "len(sp.id_to_piece(i).encode", "'\u2581the' counts 7 bytes, and has 4"),
        ('len(piece.encode("utf-8"))', "len(piece)", "'\u00e9' counts 1 bytes, and has 2"),
        ("= piece[1:]", '= " " + piece[1:]', "'\u2581the' counts 5 bytes, and has 4"),
        ("base[i] = 1\n", "base[i] = len(sp.id_to_piece(i))\n", "'<0x41>' counts 6 bytes, and has 1"),
    ],
)
def test_a_piece_that_gets_other_bytes_is_named_with_both_numbers(right, wrong, detail):
    ((_, said),) = told(LOOP.replace(right, wrong, 1))
    assert detail in said


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("len(piece.encode", "sizes.get(piece, 1) + len(piece.encode"), ("piece = sp.id_to_piece(i)", "piece = names[i]")],
)
def test_of_a_loop_that_is_not_followed_nothing_is_said(right, wrong):
    assert told(LOOP.replace(right, wrong, 1)) == []
