"""Addresses: what of them may be shown, and which are well formed."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import OperationalError

from embedsweep.core.errors import StoreError, UsageError
from embedsweep.stores.addresses import (
    check_alias,
    check_name,
    masked,
    parse_reference,
    scheme_of,
    sqlite_file,
)
from embedsweep.stores.store_errors import store_errors, summary
from tests.refusals import refusal


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://anna:hunter2@host:5000", "http://***@host:5000"),
        ("https://token@host/path", "https://***@host/path"),
        ("postgresql://anna:hunter2@host/db", "postgresql://anna:***@host/db"),
        ("postgresql+psycopg://anna:hunter2@host/db", "postgresql+psycopg://anna:***@host/db"),
        ("postgresql://anna:hun/ter2@host/db", "postgresql://anna:***@host/db"),
        ("postgresql://anna:hun@ter2@host/db", "postgresql://anna:***@host/db"),
        ("mysql://host/db?user=a&password=hunter2", "mysql://host/db?user=a&password=***"),
        ("mysql://host/db?sslpassword=hunter2&x=1", "mysql://host/db?sslpassword=***&x=1"),
        ("no way to http://anna:hunter2@host/api: gone", "no way to http://***@host/api: gone"),
    ],
)
def test_secrets_are_masked(text, shown):
    assert masked(text) == shown
    assert masked(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:5000/#/models/support@champion",
        "postgresql://host:5432/db",
        "sqlite:////var/lib/mlflow.db",
        "models:/support@champion",
        "mail anna@host: at 10:30",
    ],
)
def test_what_holds_no_secret_is_shown_as_it_is(text):
    assert masked(text) == text


@pytest.mark.parametrize("name", ["a", "support-search", "v1.2_x", "X" * 100, ".a", "-a"])
def test_good_names(name):
    assert refusal(check_name, name, "model") is None


@pytest.mark.parametrize("alias", ["champion", "a_b-c", "v3x", "latest2", "V"])
def test_good_aliases(alias):
    assert refusal(check_alias, alias) is None


def test_a_bad_name_is_quoted_and_cut():
    with pytest.raises(UsageError) as caught:
        check_name("a/" * 500, "experiment")
    assert "experiment name 'a/a/" in str(caught.value)
    assert "it has 1000 characters" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_references_are_read():
    assert parse_reference(f"models:/m-{'a' * 32}").model_id == f"m-{'a' * 32}"
    assert parse_reference(f"runs:/{'a' * 32}").run_id == "a" * 32
    by_number = parse_reference("models:/support/12")
    assert (by_number.name, by_number.alias_or_number) == ("support", "12")
    by_alias = parse_reference("models:/support@champion")
    assert (by_alias.name, by_alias.alias_or_number) == ("support", "champion")


@pytest.mark.parametrize(
    ("address", "scheme"),
    [
        ("sqlite:///a.db", "sqlite"),
        ("postgresql+psycopg://host/db", "postgresql"),
        ("HTTP://host", "http"),
        ("./mlruns", ""),
        ("databricks", ""),
    ],
)
def test_schemes(address, scheme):
    assert scheme_of(address) == scheme


def test_a_sqlite_address_names_an_absolute_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sqlite_file("sqlite:////var/a.db") == Path("/var/a.db")
    assert sqlite_file("sqlite:///a/b.db") == tmp_path / "a/b.db"


@pytest.mark.parametrize(
    ("address", "fix"),
    [
        ("http://anna:hunter2@host", "MLFLOW_TRACKING_USERNAME"),
        ("sqlite:///a.db", "disk has room"),
        ("postgresql://anna:hunter2@host/db", "address, user and password"),
    ],
)
@pytest.mark.parametrize(
    "thrown",
    [
        MlflowException("API request to http://anna:hunter2@host/api failed"),
        OperationalError("select 1", {}, Exception("no room for postgresql://a:hunter2@h/d")),
        OSError(28, "No space left on device"),
    ],
)
def test_what_a_store_throws_is_told_masked_with_a_way_on(address, fix, thrown):
    with pytest.raises(StoreError) as caught, store_errors(address, "open the store"):
        raise thrown
    assert "failure to open the store" in str(caught.value)
    assert fix in str(caught.value)
    assert "hunter2" not in str(caught.value)
    # The cause is kept for a traceback only where it holds no secret.
    assert (caught.value.__cause__ is thrown) == ("hunter2" not in str(thrown))


def test_a_bug_is_not_told_as_a_store_error():
    with pytest.raises(KeyError), store_errors("sqlite:///a.db", "open the store"):
        raise KeyError("a bug")


def test_a_summary_is_one_short_line():
    assert summary(OSError("first line.\nsecond line")) == "first line"
    assert summary(OSError()) == "OSError"
    assert len(summary(OSError("x" * 1000))) == 500
