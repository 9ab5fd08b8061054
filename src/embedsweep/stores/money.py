"""Spending: entries, and per scope their sum, which never passes the cap."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from embedsweep.core.errors import Refusal
from embedsweep.core.jobs import Account, Charge
from embedsweep.stores.job_tables import SCOPES, SPENDING

_UNIT = 1_000_000_000


def billionths(amount: float) -> int:
    """Money as whole billionths, whose sums are exact; a token may cost a ten-millionth."""
    return round(amount * _UNIT)


def amount(billionths: int) -> float:
    return billionths / _UNIT


def debit(connection: Connection, charge: Charge, account: Account, at: float) -> int:
    """Record a charge and return its entry's number.

    Raises:
        Refusal: The account would be overdrawn; the caller's transaction must not be kept.
    """
    ensure_scope(connection, account.scope)
    cost = billionths(charge.cost)
    raised = update(SCOPES).where(SCOPES.c.scope == account.scope)
    if account.cap is not None and cost > 0:
        raised = raised.where(SCOPES.c.billionths + cost <= billionths(account.cap))
    changed = connection.execute(raised.values(billionths=SCOPES.c.billionths + cost))
    if changed.rowcount == 0:
        raise _overdrawn(charge, account, spent(connection, account.scope))
    values = {
        "scope": account.scope,
        "at": at,
        "what": charge.what,
        "provider": charge.provider,
        "model": charge.model,
        "tokens": charge.tokens,
        "billionths": cost,
    }
    key = connection.execute(insert(SPENDING).values(**values)).inserted_primary_key
    if key is None:
        raise AssertionError("an entry that was inserted has a number")
    return int(key[0])


def settle(connection: Connection, entry: int, tokens: int, cost: float) -> None:
    """Put what was billed in the place of an entry's estimate."""
    found = connection.execute(
        select(SPENDING.c.scope, SPENDING.c.billionths)
        .where(SPENDING.c.entry == entry)
        .with_for_update()
    ).one()
    connection.execute(
        update(SPENDING)
        .where(SPENDING.c.entry == entry)
        .values(tokens=tokens, billionths=billionths(cost))
    )
    connection.execute(
        update(SCOPES)
        .where(SCOPES.c.scope == found.scope)
        .values(billionths=SCOPES.c.billionths + billionths(cost) - found.billionths)
    )


def spent(connection: Connection, scope: str) -> float:
    total = connection.scalar(select(SCOPES.c.billionths).where(SCOPES.c.scope == scope))
    return amount(total or 0)


def ensure_scope(connection: Connection, scope: str) -> None:
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    row = dialect.insert(SCOPES).values(scope=scope, billionths=0)
    connection.execute(row.on_conflict_do_nothing())


def _overdrawn(charge: Charge, account: Account, spent: float) -> Refusal:
    return Refusal(
        f"budget reached ({spent:.2f} of {account.cap:.2f})",
        f"sweep {account.scope!r}",
        f"{charge.what} would add about {charge.cost:.2g}",
        "raise budget.cost in the experiment",
    )
