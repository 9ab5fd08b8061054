"""What a store throws, told as `StoreError` and with no secret in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from embedsweep.core.errors import StoreError
from embedsweep.core.interrupts import uninterrupted
from embedsweep.stores.addresses import masked, scheme_of

STORE_FAULTS = (MlflowException, SQLAlchemyError, OSError)
"""What MLflow, its databases, its HTTP client (whose errors are `OSError`) and the disk throw."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


class _Addressed(Protocol):
    @property
    def address(self) -> str: ...


_A = TypeVar("_A", bound=_Addressed)


@contextmanager
def store_errors(address: str, action: str) -> Iterator[None]:
    """Raise `StoreError` for whatever a store throws inside the block.

    Args:
        address: The store's address, which may hold a password.
        action: What was tried, such as ``open the store``.
    """
    try:
        yield
    except STORE_FAULTS as error:
        raise StoreError(
            f"failure to {action}", masked(address), summary(error), _fix(scheme_of(address))
        ) from _shown(error)


def tells_store_errors(
    action: str,
) -> Callable[[Callable[Concatenate[_A, _P], _T]], Callable[Concatenate[_A, _P], _T]]:
    """`store_errors` around a method of an object that has an ``address``, `uninterrupted`."""

    def around(
        method: Callable[Concatenate[_A, _P], _T],
    ) -> Callable[Concatenate[_A, _P], _T]:
        @wraps(method)
        def call(self: _A, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
            with uninterrupted(), store_errors(self.address, action):
                return method(self, *args, **kwargs)

        return call

    return around


def summary(error: Exception) -> str:
    """The error's first line, masked and cut to 500 characters."""
    lines = masked(str(error)).strip().splitlines() or [""]
    return (lines[0].rstrip(". ") or type(error).__name__)[:500]


def absent(error: MlflowException) -> bool:
    """Whether MLflow says that it has no such thing."""
    return bool(error.error_code == "RESOURCE_DOES_NOT_EXIST")


def _fix(scheme: str) -> str:
    if scheme in ("http", "https"):
        return (
            "check that the server runs, and its address and credentials"
            " (MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD, MLFLOW_TRACKING_TOKEN)"
        )
    if scheme == "sqlite":
        return "check that the file can be read and written and that the disk has room"
    return "check that the database runs, and its address, user and password"


def _shown(error: Exception) -> Exception | None:
    """The error as a cause to show in a traceback; None when it holds a secret."""
    return error if masked(str(error)) == str(error) else None
