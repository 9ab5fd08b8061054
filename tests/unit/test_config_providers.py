"""How an arm names a provider and its key: addresses, what is refused, and no secret ever shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedsweep.core.recipe import Base
from tests.unit.arm_writing import ADAPTER, ARM_LINE, HEAD, HOSTED, URL, indented, load, refused


def test_base_urls_take_variables_and_lose_the_slash_at_their_end(tmp_path: Path):
    text = HEAD + HOSTED + "      base_url: ' http://${MACHINE}:8000/v1// '\n"
    assert load(tmp_path, text, MACHINE="gpu-machine").space.bases() == (Base("m", URL),)


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.169.254.",
        "169.254.169.254:80",
        "169.254.43518",
        "2852039166",
        "0xA9FEA9FE",
        "0xa9.0xfe.0xa9.0xfe",
        "0251.0376.0251.0376",
        "169。254。169。254",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "metadata",
        "metadata.google.internal",
        "METADATA.Google.internal.",
    ],
)
def test_the_addresses_that_tell_a_clouds_secrets_are_refused(tmp_path: Path, host: str):
    text = f"{HEAD}{HOSTED}      base_url: 'http://{host}/v1'\n"
    (fault,) = refused(tmp_path, text)
    assert (fault.what, fault.line) == ("search.arms[0].base_url", ARM_LINE + 2)
    assert "cloud's own address" in fault.why or "more than letters" in fault.why


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "10.1.2.3:8000", "[::1]:8000", "2130706433", "gpu_1.internal", "metadata2"],
)
def test_other_machines_of_ones_own_are_not(tmp_path: Path, host: str):
    """The control of the test above: embedding servers mostly stand on private addresses."""
    text = f"{HEAD}{HOSTED}      base_url: 'http://{host}/v1'\n"
    assert load(tmp_path, text).space.bases() == (Base("m", f"http://{host}/v1"),)


SECRET = "sk-hunter2-0123456789"


@pytest.mark.parametrize(
    "lines",
    [
        f"base_url: http://me:{SECRET}@gpu-machine:8000/v1",
        f"base_url: http://{SECRET}@gpu-machine:8000/v1",
        f"base_url: http://me:{SECRET}@${{NOBODY}}/v1",
        f"base_url: {URL}?api_key={SECRET}",
        f"base_url: {SECRET}",
        f"provider: http://me:{SECRET}@gpu-machine/v1",
        f"provider: openai\napi_key_env: {SECRET}",
        f"provider: openai\napi_key: {SECRET}",
        f"provider: openai\napi_key_env: [{SECRET}]",
    ],
)
@pytest.mark.parametrize("arm", [ADAPTER, HOSTED], ids=["adapter", "hosted"])
def test_a_secret_is_refused_and_never_shown(tmp_path: Path, arm: str, lines: str):
    faults = refused(tmp_path, HEAD + arm + indented(lines))
    assert SECRET not in "".join(f"{fault}{fault.as_dict()}" for fault in faults)
    line = ARM_LINE + 1 + len(lines.splitlines())
    assert line in {fault.line for fault in faults}


def test_the_way_out_of_a_password_in_a_url_is_a_variable(tmp_path: Path):
    lines = f"base_url: http://me:{SECRET}@gpu-machine:8000/v1"
    (fault,) = refused(tmp_path, HEAD + ADAPTER + indented(lines))
    assert "before gpu-machine" in fault.why
    assert "api_key_env" in fault.fix
    mended = indented(f"base_url: {URL}\napi_key_env: TEAM_API_KEY")
    assert load(tmp_path, HEAD + ADAPTER + mended).key_variables == {URL: "TEAM_API_KEY"}


def test_a_job_needs_someone_who_runs_it(tmp_path: Path):
    (fault,) = refused(tmp_path, HEAD + HOSTED)
    assert (fault.what, fault.line) == ("search.arms[0].base_url", ARM_LINE)
    assert "missing" in fault.why
    assert "provider: loopback" in fault.fix
    # The controls: with a provider it is read, and a misspelt one is told once.
    assert load(tmp_path, f"{HEAD}{HOSTED}      provider: loopback\n").trials == 3
    (fault,) = refused(tmp_path, f"{HEAD}{HOSTED}      base_ulr: {URL}\n")
    assert (fault.what, fault.line) == ("unknown key search.arms[0].base_ulr", ARM_LINE + 2)


def test_one_provider_has_one_key(tmp_path: Path):
    arms = "".join(
        f"{ADAPTER}      base_url: {URL}{slash}\n      api_key_env: {name}\n"
        for slash, name in (("", "TEAM_KEY"), ("/", "OTHER_KEY"))
    )
    (fault,) = refused(tmp_path, HEAD + arms)
    assert (fault.what, fault.line) == ("search.arms[1].api_key_env", ARM_LINE + 7)
    assert "TEAM_KEY" in fault.why
    same = load(tmp_path, HEAD + arms.replace("OTHER_KEY", "TEAM_KEY"))
    assert same.key_variables == {URL: "TEAM_KEY"}
    others = load(tmp_path, HEAD + arms.replace(f"{URL}/", "http://other:8000/v1"))
    assert others.key_variables == {URL: "TEAM_KEY", "http://other:8000/v1": "OTHER_KEY"}
