"""Bills and estimates."""

from __future__ import annotations

from embedsweep.core.bill import Bill, Price, embedding_bill, tokens_in, training_bill

PRICE = Price(embedding=0.25, training=3.0)


def test_a_token_is_about_four_bytes_and_a_text_at_least_one_token():
    assert tokens_in([]) == 0
    assert tokens_in(["a", "abcd", "abcde"]) == 1 + 1 + 2
    assert tokens_in(["苹果派"]) == 3
    assert tokens_in(["", "\ud800"]) == 2


def test_prices_are_per_million_tokens():
    assert embedding_bill(500_000, PRICE) == Bill(embedded_tokens=500_000, cost=0.125)
    assert training_bill(2_000_000, PRICE) == Bill(trained_tokens=2_000_000, cost=6.0)
    assert training_bill(2_000_000, Price()).cost == 0.0


def test_a_trials_bill_is_the_difference_of_two_readings():
    before = Bill(10, 20, 0.5)
    after = before + embedding_bill(1_000_000, PRICE) + training_bill(1_000_000, PRICE)
    assert after - before == Bill(1_000_000, 1_000_000, 3.25)
