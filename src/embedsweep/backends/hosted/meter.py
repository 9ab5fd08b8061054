"""What a sweep is billed: counted here, recorded in the job book, kept within the cap."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from embedsweep.core.bill import Bill, Price, embedding_bill, training_bill
from embedsweep.core.jobs import Account, Charge, JobBook, JobRecord

_FREE = Price()


class Meter:
    """Counts the usage of providers by one sweep. May be used from several threads.

    Args:
        book: Where it is recorded, for all processes of the sweep together.
        account: Whose spending it is, and its cap.
        prices: By the provider's name of a model; a model without a price costs nothing.
    """

    def __init__(self, book: JobBook, account: Account, prices: Mapping[str, Price]) -> None:
        self.account = account
        self._book = book
        self._prices = dict(prices)
        self._lock = threading.Lock()
        self._bill = Bill()

    @property
    def bill(self) -> Bill:
        """All that this meter has counted; a trial's share is the difference of two readings."""
        with self._lock:
            return self._bill

    def price(self, model: str) -> Price:
        return self._prices.get(model, _FREE)

    def reserve(self, provider: str, model: str, tokens: int) -> int:
        """Record an embedding request before it is sent; returns the entry to settle.

        Raises:
            Refusal: Its estimate would exceed the cap.
        """
        cost = embedding_bill(tokens, self.price(model)).cost
        charge = Charge(f"embedding with {model}", provider, model, tokens, cost)
        return self._book.debit(charge, self.account)

    def settle(self, entry: int, model: str, tokens: int) -> None:
        """Put the tokens that the provider counted in the place of the estimate."""
        bill = embedding_bill(tokens, self.price(model))
        self._book.settle(entry, tokens, bill.cost)
        self._count(bill)

    def count_job(self, record: JobRecord) -> None:
        """Count a job that has ended, if it is this sweep that pays for it."""
        if record.scope == self.account.scope:
            self._count(Bill(trained_tokens=record.tokens, cost=record.cost))

    def charge_job(self, what: str, provider: str, model: str, tokens: int) -> Charge:
        """What a job of so many tokens, every epoch's, is about to cost."""
        return Charge(what, provider, model, tokens, self.training_cost(model, tokens))

    def training_cost(self, model: str, tokens: int) -> float:
        return training_bill(tokens, self.price(model)).cost

    def _count(self, bill: Bill) -> None:
        with self._lock:
            self._bill += bill
