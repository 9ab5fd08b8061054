"""Models out of the registry: served, or copied into a folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from embedsweep.core.canaries import check_canaries
from embedsweep.core.errors import StoreError, UsageError
from embedsweep.core.roles import TextRole
from embedsweep.wiring.evidence import locations, open_registry, scratch
from embedsweep.wiring.loopback import fine_tuning as open_service
from embedsweep.wiring.models import REGISTERED, SERVICE_FOLDER, opener

if TYPE_CHECKING:
    from embedsweep.serving.address import Address
    from embedsweep.serving.shelf import ModelShelf


def export(stores: str | None, reference: str, folder: Path) -> None:
    """Copy a registered model into a new folder, its files and its canaries verified.

    An adapter over a local model is saved as one model; see `backends.export.export_model`.
    """
    from embedsweep.backends.export import export_model

    if folder.exists():
        raise UsageError(
            f"folder {folder}", "the command line", "it exists already", "name a new folder"
        )
    if not reference.startswith(REGISTERED):
        reference = f"models:/{reference}@champion"
    home = locations(stores).home
    with scratch(home) as work, opener(home) as open_model:
        fetched = open_registry(stores).fetch(reference, work)
        embedder = open_model(fetched)
        check_canaries(embedder, work, reference)
        if export_model(embedder, folder):
            check_canaries(open_model(folder), work, str(folder))
        else:
            shutil.copytree(fetched, folder)


def serve(
    stores: str | None,
    reference: str | None,
    address: Address,
    fine_tuning: Sequence[str] | None = None,
    default_role: TextRole | None = None,
) -> int:
    """Serve a model's champion, fine-tuning, or both, until a signal; returns the exit code.

    Args:
        stores: Where the evidence is kept.
        reference: ``NAME`` or ``models:/NAME@champion``; None for no champion.
        address: Where to listen.
        fine_tuning: The base models that jobs may ask for; None to take no jobs.
        default_role: Role of the texts of requests that name none; see `serving.app.create_app`.
    """
    from embedsweep.serving.address import API_KEYS, check_access, listener_at
    from embedsweep.serving.run import serve as run
    from embedsweep.serving.shelf import ModelShelf

    name = None if reference is None else _served_name(stores, reference)
    keys = frozenset(filter(None, os.environ.get(API_KEYS, "").split(",")))
    # Told before a model is loaded, which takes seconds.
    check_access(address, keys)
    listener_at(address).close()
    base_models = None if fine_tuning is None else _found(fine_tuning)
    home = locations(stores).home
    with ExitStack() as stack:
        shelf: ModelShelf | None = None
        if name is not None:
            work = stack.enter_context(scratch(home))
            open_model = stack.enter_context(opener(home))
            shelf = ModelShelf(open_registry(stores), open_model, work)
            shelf.load(name)
        service = None
        if base_models is not None:
            service = open_service(home / SERVICE_FOLDER, base_models)
        run(shelf, address, keys, fine_tuning=service, default_role=default_role)
    return 0


def _found(base_models: Sequence[str]) -> Sequence[str]:
    """The names, each of a base model that is there; raises `UsageError` for one that is not."""
    from embedsweep.backends.local.base_models import base_folder

    for name in base_models:
        base_folder(name)
    return base_models


def _served_name(stores: str | None, reference: str) -> str:
    """The model whose champion is meant; the server follows no other alias."""
    from embedsweep.stores.addresses import parse_reference

    if "/" not in reference and ":" not in reference and "@" not in reference:
        return reference
    named = parse_reference(reference)
    if named.name and named.alias_or_number == "champion":
        return named.name
    if named.name and open_registry(stores).resolve(named.name, named.alias_or_number) is None:
        raise StoreError(
            f"model {reference}",
            "the registry",
            f"{named.name} has no version {named.alias_or_number!r}",
            f"serve {named.name}, which follows its champion",
        )
    raise UsageError(
        f"model {reference}",
        "the command line",
        "the server follows champions, and clients pin versions by asking for NAME/3",
        f"serve {named.name or 'NAME'}",
    )
