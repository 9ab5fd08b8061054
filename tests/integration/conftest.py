"""Servers that several files of tests share, one process each."""

from __future__ import annotations

import os

import pytest

from tests.integration.misbehaving_provider import Misbehaving
from tests.postgresql import missing, server


@pytest.fixture(scope="session")
def postgresql():
    """A PostgreSQL: the one EMBEDSWEEP_TEST_POSTGRESQL names, else one of our own."""
    named = os.environ.get("EMBEDSWEEP_TEST_POSTGRESQL")
    if named:
        yield named
    elif reason := missing():
        pytest.skip(reason)
    else:
        with server() as address:
            yield address


@pytest.fixture(scope="session")
def provider_process():
    process = Misbehaving()
    yield process
    process.close()


@pytest.fixture
def provider(provider_process):
    """A provider that behaves, until it is told otherwise."""
    provider_process.reset()
    return provider_process


@pytest.fixture(scope="session")
def kept_models(provider_process, tmp_path_factory):
    """A model of every kind in a store that tests may read, the hosted one at the provider."""
    # Imported here: it loads torch, which most of these files do without.
    from tests.integration.kept_models import make_kept_models

    home = tmp_path_factory.mktemp("kept")
    return make_kept_models(home, tmp_path_factory.getbasetemp(), provider_process.url)
