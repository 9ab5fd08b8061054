"""What a check has against its arguments, so that a test can say: nothing."""

from __future__ import annotations

from collections.abc import Callable

from embedsweep.core.errors import UserError
from embedsweep.core.trial import TrialFailure


def refusal(check: Callable[..., object], *arguments: object) -> UserError | TrialFailure | None:
    """What the check raises for the arguments; None where it lets them pass."""
    try:
        check(*arguments)
    except (UserError, TrialFailure) as error:
        return error
    return None
