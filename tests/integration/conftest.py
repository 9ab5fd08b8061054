"""Servers that several files of tests share, one process each."""

from __future__ import annotations

import pytest

from tests.integration.misbehaving_provider import Misbehaving


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
