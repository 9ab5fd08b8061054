"""When two texts count as the same, and how values are shown."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedsweep.data import normalise
from embedsweep.data.text import draw_order, shorten


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("  Hello,\t WORLD!!\n", "hello world"),
        ("Straße", "strasse"),
        ("ﬁle № 5", "file no 5"),
        ("don't — stop", "don t stop"),
        ("a\u200bb \u00adc", "ab c"),
        ("e\u0301t\u200d\u0301", "e\u0301t\u0301"),
        ("$5", "$5"),
        ("C++", "c++"),
        ("?!", "?!"),
    ],
)
def test_normal_form(text, normal):
    assert normalise(text) == unicodedata.normalize("NFKC", normal)


def test_marks_that_carry_meaning_stay():
    assert normalise("कि") != normalise("का")
    assert normalise("?") != normalise("!")
    assert normalise("👍") != normalise("👎")


@given(st.text())
def test_normal_form_is_its_own_normal_form(text):
    once = normalise(text)
    assert normalise(once) == once


@given(st.text(alphabet=st.characters(codec="utf-8")), st.sampled_from([str.upper, str.lower]))
def test_case_and_blanks_around_make_no_difference_to_plain_text(text, change):
    plain = "".join(c for c in text if c.isascii())
    assert normalise(f"\t{change(plain)} \n") == normalise(plain)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        ([1, 2], "a list of 2"),
        ({"a": 1}, 'an object with the keys "a"'),
        ("x" * 61, '"' + "x" * 60 + '…"'),
        ("x" * 60, '"' + "x" * 60 + '"'),
        ("a\ud800", '"a\\ud800"'),
    ],
)
def test_values_are_shown_short_and_printable(value, shown):
    assert shorten(value) == shown
    shorten(value).encode()


def test_the_drawn_order_hangs_on_seed_and_key_alone():
    keys = [f"key {n}" for n in range(100)]
    assert sorted(keys, key=lambda k: draw_order(1, k)) != sorted(
        keys, key=lambda k: draw_order(2, k)
    )
    assert draw_order(7, "key").hex() == "f5b8ad6a96b03738"
