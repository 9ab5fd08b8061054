"""The commands to run next, as they work where the user is."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from pathlib import Path

RECIPES = {"ui": "embedsweep ui", "serve": "embedsweep serve $(MODEL)"}
"""What a Makefile's target of the same name runs."""


def next_steps(options: argparse.Namespace, model: str | None) -> str:
    """Return one line that names the commands for the runs and the served model.

    Args:
        options: Of the command line, with the `stores` that the user named.
        model: Name of the registered model, or `None` if its champion is not known.
    """
    steps = [f"see the runs side by side: {_command('ui', options)}"]
    if model is not None:
        serve, name = _command("serve", options), shlex.quote(model)
        by_make = serve.startswith("make ")
        steps.append(f"serve the champion: {serve} {f'MODEL={name}' if by_make else name}")
    return "; ".join(steps)


def _command(verb: str, options: argparse.Namespace) -> str:
    stores: str | None = options.stores
    if stores and stores != os.environ.get("EMBEDSWEEP_STORES"):
        return f"embedsweep {verb} --stores {shlex.quote(stores)}"
    return f"make {verb}" if _is_made(verb) else f"embedsweep {verb}"


def _is_made(verb: str) -> bool:
    """Whether the folder has a Makefile with a target that runs the command."""
    try:
        text = Path("Makefile").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    recipe = re.search(rf"^{verb}:.*\n((?:\t.*\n?)+)", text, re.MULTILINE)
    return recipe is not None and RECIPES[verb] in recipe[1]
