"""Each provider is shown its own key and nobody else's."""

from __future__ import annotations

import traceback
from contextlib import closing

import openai
import pytest

from embedsweep.backends.hosted.embedder import HostedEmbedder, HostedModel
from embedsweep.backends.hosted.provider import Provider
from embedsweep.core.errors import UsageError
from embedsweep.wiring.loopback import Loopback
from embedsweep.wiring.providers import Providers
from tests.integration.header_server import header_server
from tests.integration.misbehaving_provider import KEY, WIDTH

URL = "https://models.example/v1"
FOR_OPENAI = {
    "OPENAI_ORG_ID": "org-canary",
    "OPENAI_PROJECT_ID": "proj-canary",
    "OPENAI_ADMIN_KEY": "sk-admin-canary",
    "OPENAI_WEBHOOK_SECRET": "whsec-canary",
    "OPENAI_CUSTOM_HEADERS": "X-Gateway-Key: sk-gateway-canary\nauthorization: Bearer sk-canary",
}
UNFIT = ["sk-canary\n", "sk-canary\r\nX-More: 1", "sk canary", "sk-cänäry", "\ufeffsk-canary"]


@pytest.fixture
def loopback(tmp_path):
    with closing(Loopback(tmp_path / "loopback")) as loopback:
        yield loopback


@pytest.fixture
def servers():
    with header_server() as one, header_server() as another:
        yield one, another


def knowing(loopback, environ, variables=None):
    return Providers(environ, variables or {}, loopback)


def embed(known, provider, variable=None):
    with known.connect(provider, variable) as client:
        return HostedEmbedder(Provider(provider, client), HostedModel("small")).embed(["a", "b"])


def test_openai_gets_its_key_at_its_own_address(loopback, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", URL)
    monkeypatch.setenv("OPENAI_API_KEY", "of another environment")
    with knowing(loopback, {"OPENAI_API_KEY": "sk-ours"}).connect("openai") as client:
        assert str(client.base_url) == "https://api.openai.com/v1/"
        assert client.api_key == "sk-ours"
        assert client.max_retries == 0


@pytest.mark.parametrize("environ", [{}, {"OPENAI_API_KEY": ""}, {"EMBEDSWEEP_PROVIDER_KEY": "k"}])
def test_openai_without_a_key_is_refused(loopback, environ):
    with pytest.raises(UsageError, match=r"no key for openai .*OPENAI_API_KEY: it is not set"):
        knowing(loopback, environ).connect("openai")


@pytest.mark.parametrize(
    ("environ", "variables", "named", "key"),
    [
        ({}, {}, None, "none"),
        ({"OPENAI_API_KEY": "sk-openai"}, {}, None, "none"),
        ({"EMBEDSWEEP_PROVIDER_KEY": "k1"}, {}, None, "k1"),
        ({"EMBEDSWEEP_PROVIDER_KEY": "k1", "TEAM_KEY": "k2"}, {URL: "TEAM_KEY"}, None, "k2"),
        ({"TEAM_KEY": "k2", "FILE_KEY": "k3"}, {URL: "TEAM_KEY"}, "FILE_KEY", "k3"),
        ({"TEAM_KEY": "k2"}, {"https://others.example/v1": "TEAM_KEY"}, None, "none"),
    ],
)
def test_a_server_gets_the_key_that_is_named_for_it(loopback, environ, variables, named, key):
    known = knowing(loopback, environ, variables)
    assert known.key(URL, named) == key
    with known.connect(URL, named) as client:
        assert (str(client.base_url), client.api_key) == (f"{URL}/", key)


@pytest.mark.parametrize(("variables", "named"), [({URL: "TEAM_KEY"}, None), ({}, "TEAM_KEY")])
def test_a_named_variable_that_is_not_set_is_told(loopback, variables, named):
    environ = {"OPENAI_API_KEY": "sk-canary", "EMBEDSWEEP_PROVIDER_KEY": "canary"}
    with pytest.raises(UsageError, match=r"variable TEAM_KEY: it is not set") as caught:
        knowing(loopback, environ, variables).connect(URL, named)
    assert URL in str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("key", UNFIT)
@pytest.mark.parametrize(
    ("provider", "variable"),
    [("openai", "OPENAI_API_KEY"), (URL, "EMBEDSWEEP_PROVIDER_KEY"), (URL, "TEAM_KEY")],
)
def test_a_key_that_no_header_can_carry_is_refused_unseen(loopback, provider, variable, key):
    variables = {URL: "TEAM_KEY"} if variable == "TEAM_KEY" else {}
    with pytest.raises(UsageError, match=f"variable {variable}: it holds a character") as caught:
        knowing(loopback, {variable: key}, variables).connect(provider)
    shown = "".join(traceback.format_exception(caught.value))
    assert "canary" not in shown
    assert "cänäry" not in shown


def test_the_stock_client_shows_such_a_key(servers):
    """The control."""
    with (
        openai.OpenAI(base_url=servers[0].url, api_key=UNFIT[0], max_retries=0) as client,
        pytest.raises(openai.APIConnectionError) as caught,
    ):
        client.embeddings.create(model="small", input=["a"])
    assert "canary" in "".join(traceback.format_exception(caught.value))


def test_the_loopback_service_needs_no_key_and_is_shown_no_other(loopback, tmp_path):
    environ = {"OPENAI_API_KEY": "sk-canary", "EMBEDSWEEP_PROVIDER_KEY": "canary"}
    with knowing(loopback, environ).connect("loopback") as client:
        assert client.api_key == (tmp_path / "loopback" / "key").read_text()
        assert [model.id for model in client.models.list()] == ["all-MiniLM-L6-v2"]


def test_a_key_goes_to_its_own_provider_alone(loopback, servers):
    one, another = servers
    environ = {"OPENAI_API_KEY": "sk-1", "EMBEDSWEEP_PROVIDER_KEY": "k2", "TEAM_KEY": "k3"}
    known = knowing(loopback, environ, {one.url: "TEAM_KEY"})
    for server in (one, another, one):
        embed(known, server.url)
    assert one.authorizations == ["Bearer k3", "Bearer k3"]
    assert another.authorizations == ["Bearer k2"]
    embed(knowing(loopback, {"OPENAI_API_KEY": "sk-1"}), another.url)
    assert another.authorizations == ["Bearer k2", "Bearer none"]
    assert "sk-1" not in str(one.shown + another.shown)


def test_the_right_key_opens_and_another_provider_s_does_not(loopback, provider):
    assert embed(knowing(loopback, {"EMBEDSWEEP_PROVIDER_KEY": KEY}), provider.url).shape == (
        2,
        WIDTH,
    )
    with pytest.raises(Exception, match="Incorrect API key provided: none"):
        embed(knowing(loopback, {"OPENAI_API_KEY": KEY}), provider.url)


def test_a_server_that_sends_requests_elsewhere_takes_no_key_along(loopback, servers):
    one, another = servers
    one.elsewhere = f"{another.url}/embeddings"
    embed(knowing(loopback, {"TEAM_KEY": "k3"}, {one.url: "TEAM_KEY"}), one.url)
    assert one.authorizations == ["Bearer k3"]
    assert another.authorizations == [None]


def test_what_the_environment_holds_for_openai_stays_with_openai(loopback, servers, monkeypatch):
    for name, value in FOR_OPENAI.items():
        monkeypatch.setenv(name, value)
    known = knowing(loopback, {"OPENAI_API_KEY": "sk-canary", "TEAM_KEY": "k3"})
    embed(known, servers[0].url, "TEAM_KEY")
    assert servers[0].authorizations == ["Bearer k3"]
    assert "canary" not in str(servers[0].shown)
    with known.connect("openai") as client:
        headers = client.default_headers
    assert headers["OpenAI-Organization"] == "org-canary"
    assert headers["X-Gateway-Key"] == "sk-gateway-canary"


def test_the_stock_client_shows_it_to_everyone(servers, monkeypatch):
    """The control."""
    for name, value in FOR_OPENAI.items():
        monkeypatch.setenv(name, value)
    with openai.OpenAI(base_url=servers[0].url, api_key="k3", max_retries=0) as client:
        client.embeddings.with_raw_response.create(model="m", input=["a"], encoding_format="float")
    shown = servers[0].shown[0]
    assert shown["openai-organization"] == "org-canary"
    assert shown["x-gateway-key"] == "sk-gateway-canary"
