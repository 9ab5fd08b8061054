"""Tables that fit a width."""

from __future__ import annotations

import pytest

from embedsweep.cli.tables import narrowest, paragraph, table

HEAD = ("trial", "relevance\n@10", "recipe")
ROWS = [
    ("t0", "0.5", "softmax, 1 epoch, lr 1e-05, batch 32"),
    ("t1", "0.25", "failed: out_of_memory: " + "x" * 50),
    ("b0", "-", "untuned"),
]


def test_without_a_width_each_row_is_one_line() -> None:
    assert list(table(HEAD, ROWS, None)) == [
        "       relevance",
        "trial        @10  recipe",
        "   t0        0.5  softmax, 1 epoch, lr 1e-05, batch 32",
        f"   t1       0.25  failed: out_of_memory: {'x' * 50}",
        "   b0          -  untuned",
    ]


def test_a_cell_that_is_too_long_continues_below_itself() -> None:
    lines = list(table(HEAD, ROWS[:1], 43))
    assert lines[2:] == [
        "   t0        0.5  softmax, 1 epoch, lr",
        "                  1e-05, batch 32",
    ]


def test_cells_without_room_next_to_the_others_go_below_them() -> None:
    assert list(table(HEAD, ROWS, 32)) == [
        "       relevance",
        "trial        @10",
        "    recipe",
        "   t0        0.5",
        "    softmax, 1 epoch, lr 1e-05,",
        "    batch 32",
        "   t1       0.25",
        "    failed: out_of_memory:",
        f"    {'x' * 28}",
        f"    {'x' * 22}",
        "   b0          -",
        "    untuned",
    ]


@pytest.mark.parametrize("width", range(16, 100))
def test_nothing_is_wider_than_the_screen_and_nothing_is_lost(width: int) -> None:
    assert narrowest(HEAD, ROWS) == 16
    lines = list(table(HEAD, ROWS, width))
    assert max(map(len, lines)) <= width
    told = "".join("".join(lines).split())
    for row in ROWS:
        for cell in row:
            assert "".join(cell.split()) in told


def test_wide_characters_count_twice() -> None:
    rows = [("日本", "1", "名前"), ("a", "2", "b")]
    assert list(table(("slice", "n", "x"), rows, None))[1:] == [
        " 日本  1  名前",
        "    a  2  b",
    ]
    assert paragraph("日本語 日本語", 8) == ["日本語", "日本語"]
