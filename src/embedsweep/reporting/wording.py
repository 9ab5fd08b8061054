"""How a page says numbers and names, the same everywhere on it."""

from __future__ import annotations

from embedsweep.core.trial import Failed, Role, Trial

SHOWN_TEXT = 400
"""Characters shown of a text of the user's."""

LETTERS = {Role.BASELINE: "b", Role.TRIAL: "t", Role.FINALIST: "f"}


def signed(value: float) -> str:
    """With its sign, and a true minus."""
    return f"{value:+.4f}".replace("-", "\N{MINUS SIGN}")


def span(low: float, high: float) -> str:
    return f"{signed(low)} to {signed(high)}"


def probability(value: float) -> str:
    return f"{value:.4f}" if value >= 0.001 else f"{value:.1g}"


def duration(seconds: float) -> str:
    """Such as ``45 s``, ``7 min`` and ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}".replace(",", "\N{NO-BREAK SPACE}")


def short(says: str, length: int = SHOWN_TEXT) -> str:
    return says if len(says) <= length else f"{says[: length - 1].rstrip()}…"


def badge(trial: Trial) -> str:
    """Its name in tables, such as ``t7``, as the command line has it."""
    return f"{LETTERS[trial.role]}{trial.number}"


def named(trial: Trial) -> str:
    return f"{trial.role.value} {trial.number}"


def described(trial: Trial) -> str:
    """What was tried, and what became of it where that is no score."""
    if isinstance(trial.outcome, Failed):
        why = short(f"{trial.outcome.kind}: {trial.outcome.message}", 200)
        return f"failed, {why} ({trial.recipe_in_words})"
    state = "" if trial.state == "completed" else f" ({trial.state})"
    reused = " (reused)" if trial.reused_from else ""
    return f"{trial.recipe_in_words}{state}{reused}"


def tip(trial: Trial, score: float | None) -> str:
    reached = "" if score is None else f" {score:.4f}"
    return f"{badge(trial)}{reached} · {trial.arm} · {described(trial)}"
