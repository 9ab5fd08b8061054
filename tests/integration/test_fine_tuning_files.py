"""Files, with the stock `openai` client and on the wire."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import openai
import pytest

from embedsweep.serving.limits import Limits
from tests.integration.fine_tuning_twins import (
    BASE,
    FRUIT,
    KEYS,
    ROOMY,
    Running,
    holder,
    labelled,
    running,
    unused_key,
)
from tests.integration.serving_twins import call

CAP = 100_000
SMALL = replace(ROOMY, file_bytes=CAP, files_per_owner=6, files=10_000)
BOUNDARY = "frontier"


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("service")
    with running(folder, SMALL, frozenset(KEYS), http=Limits(body_seconds=0.5)) as service:
        yield service


@pytest.fixture
def client(service) -> Iterator[openai.OpenAI]:
    """A client with a key that no other test of this file uses."""
    with service.client(unused_key()) as client:
        yield client


def form(content: bytes, *fields: tuple[str, str], name: str = "a.jsonl") -> bytes:
    parts = [f'name="{field}"\r\n\r\n{value}' for field, value in fields]
    head = "".join(f"--{BOUNDARY}\r\nContent-Disposition: form-data; {part}\r\n" for part in parts)
    file = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return (head + file).encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def send(service: Running, body, key: str):
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    headers = {"Content_Type": kind, "Authorization": f"Bearer {key}"}
    return call(service.port, "POST", "/v1/files", body, **headers)


def arriving(service: Running) -> list:
    return list(service.service.disk.incoming.iterdir())


def wait_until_nothing_arrives(service: Running) -> None:
    for _ in range(2000):
        if not arriving(service):
            return
        call(service.port, "GET", "/healthz")
    pytest.fail(f"left over: {arriving(service)}")


def test_a_file_comes_back_as_it_went(client):
    content = labelled() + "\n\u00e9\U0001f9ed".encode()
    given = client.files.create(file=("mine.jsonl", content), purpose="fine-tune")
    assert given.id.startswith("file-")
    assert (given.object, given.filename, given.bytes) == ("file", "mine.jsonl", len(content))
    assert (given.purpose, given.status, given.expires_at) == ("fine-tune", "processed", None)
    assert given.created_at > 1_700_000_000
    assert client.files.retrieve(given.id) == given
    assert client.files.wait_for_processing(given.id) == given
    assert client.files.content(given.id).content == content
    assert list(client.files.list()) == [given]
    deleted = client.files.delete(given.id)
    assert (deleted.id, deleted.object, deleted.deleted) == (given.id, "file", True)
    assert list(client.files.list()) == []
    for ask in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError, match="No such File object"):
            ask(given.id)


def test_the_async_client_does_the_same(service):
    url = f"http://127.0.0.1:{service.port}/v1"

    async def story() -> None:
        async with openai.AsyncOpenAI(api_key=unused_key(), base_url=url) as client:
            uploads = [
                client.files.create(file=(f"{n}.jsonl", labelled()), purpose="fine-tune")
                for n in range(4)
            ]
            files = await asyncio.gather(*uploads)
            listed = [file.id async for file in client.files.list(limit=3)]
            assert sorted(listed) == sorted(file.id for file in files)
            content = await client.files.content(files[0].id)
            assert content.content == labelled()
            await asyncio.gather(*(client.files.delete(file.id) for file in files))
            assert [file async for file in client.files.list()] == []

    asyncio.run(story())


def test_lists_are_paged_ordered_and_filtered(service, client):
    ids = [service.upload(client, labelled(), f"{number}.jsonl") for number in range(5)]
    for limit in (1, 2, 5, 100):
        assert [file.id for file in client.files.list(limit=limit)] == ids[::-1]
        assert [file.id for file in client.files.list(limit=limit, order="asc")] == ids
    page = client.files.list(limit=2, after=ids[3])
    assert ([file.id for file in page.data], page.has_more) == ([ids[2], ids[1]], True)
    assert [file.id for file in client.files.list(purpose="fine-tune")] == ids[::-1]
    assert list(client.files.list(purpose="fine-tune-results")) == []


def test_what_is_paged_over_may_be_deleted(service, client):
    for number in range(5):
        service.upload(client, labelled(), f"{number}.jsonl")
    for file in client.files.list(limit=2):
        client.files.delete(file.id)
    assert list(client.files.list()) == []


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_file_expires_unless_a_job_needs_it(tmp_path):
    clock = Clock()
    policy = {"anchor": "created_at", "seconds": 3600}
    with (
        holder() as holding,
        running(tmp_path, clock=clock) as service,
        service.client() as client,
    ):

        def upload(content: bytes, **fields) -> openai.types.FileObject:
            named = ("a.jsonl", content)
            return client.files.create(file=named, purpose="fine-tune", **fields)

        kept, short = upload(labelled()), upload(labelled(), expires_after=policy)
        used = upload(labelled(FRUIT, holding.order), expires_after=policy)
        assert (kept.expires_at, short.expires_at) == (None, short.created_at + 3600)
        job = client.fine_tuning.jobs.create(model=BASE, training_file=used.id)
        with holding.held() as held:
            clock.now += 3599
            assert len(list(client.files.list())) == 3, "the control"
            clock.now += 1
            assert [file.id for file in client.files.list()] == [kept.id]
            with pytest.raises(openai.NotFoundError):
                client.files.retrieve(short.id)
            with pytest.raises(openai.BadRequestError, match="there is no file"):
                client.fine_tuning.jobs.create(model=BASE, training_file=short.id)
            service.service.files.purge()
            on_disk = {file.stem for file in service.service.disk.files.iterdir()}
            assert on_disk == {kept.id, used.id}
            held.release()
            assert service.ended(client, job.id).status == "succeeded"
        service.service.files.purge()
        assert used.id not in {file.stem for file in service.service.disk.files.iterdir()}


def test_a_file_that_a_job_uses_cannot_be_deleted(tmp_path):
    with holder() as holding, running(tmp_path) as service, service.client() as client:
        training = service.upload(client, labelled(FRUIT, holding.order))
        validation = service.upload(client, labelled())
        other = service.upload(client, labelled())
        job = client.fine_tuning.jobs.create(
            model=BASE, training_file=training, validation_file=validation
        )
        with holding.held() as held:
            for file_id in (training, validation):
                with pytest.raises(openai.BadRequestError, match=f"used by job {job.id}") as caught:
                    client.files.delete(file_id)
                assert caught.value.code == "file_in_use"
            assert client.files.delete(other).deleted, "the control: no job uses it"
            held.release()
            service.ended(client, job.id)
        assert client.files.delete(training).deleted
        assert client.files.delete(validation).deleted


@pytest.mark.parametrize(("size", "status"), [(CAP, 200), (CAP + 1, 413), (20 * CAP, 413)])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_file_is_bounded_with_and_without_a_length(service, client, size, status, is_chunked):
    body = form(b"x" * size, ("purpose", "fine-tune"))
    pieces = (body[start : start + 50_000] for start in range(0, len(body), 50_000))
    answer = send(service, pieces if is_chunked else body, client.api_key)
    assert answer.status == status
    if status == 413:
        assert answer.error == (413, "file_too_large", "file")
        assert list(client.files.list()) == []
    wait_until_nothing_arrives(service)


def test_the_stock_client_is_told_of_a_file_too_large(client):
    with pytest.raises(openai.APIStatusError, match=f"more than {CAP} bytes") as caught:
        client.files.create(file=("a.jsonl", io.BytesIO(b"x" * 30 * CAP)), purpose="fine-tune")
    assert caught.value.status_code == 413


def test_a_file_is_never_whole_in_memory(tmp_path):
    size, piece = 48 * 2**20, b"x" * 2**16
    head, _, tail = form(b"*", ("purpose", "fine-tune")).partition(b"*")
    with running(tmp_path) as service:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        length = str(len(head) + size + len(tail))
        tracemalloc.start()
        try:
            connection.putrequest("POST", "/v1/files")
            connection.putheader("Content-Type", kind)
            connection.putheader("Content-Length", length)
            connection.endheaders(head)
            for _ in range(size // len(piece)):
                connection.send(piece)
            connection.send(tail)
            reply = connection.getresponse()
            assert reply.status == 200, reply.read()
            reply.read()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            connection.close()
        [file] = service.service.disk.files.iterdir()
        assert file.stat().st_size == size
        assert peak < size / 6


def test_a_key_keeps_so_many_files_and_another_key_still_may(service, client):
    for _ in range(SMALL.files_per_owner):
        service.upload(client, labelled())
    with pytest.raises(openai.RateLimitError, match="at most 6 are kept") as caught:
        service.upload(client, labelled())
    assert caught.value.response.headers["x-should-retry"] == "false"
    with service.client(unused_key()) as other:
        other.files.delete(service.upload(other, labelled()))
    client.files.delete(next(iter(client.files.list())).id)
    service.upload(client, labelled())


@pytest.mark.parametrize(
    ("bounds", "status", "code", "said"),
    [
        ({"files": 1}, 429, "file_limit_exceeded", "this server keeps 1 files"),
        ({"bytes": 500}, 507, "insufficient_storage", "this server keeps"),
        ({"bytes_per_owner": 500}, 507, "insufficient_storage", "this key keeps"),
        ({"free_bytes": 2**60}, 507, "insufficient_storage", "disk is nearly full"),
        ({}, 200, None, ""),
    ],
)
def test_the_server_keeps_so_much_in_all(tmp_path, bounds, status, code, said):
    with running(tmp_path, replace(ROOMY, **bounds)) as service:
        for _ in range(2):
            answer = send(service, form(labelled(), ("purpose", "fine-tune")), "unused")
        assert answer.status == status
        if code:
            assert answer.error[1] == code
            assert said in answer.body["error"]["message"]
        wait_until_nothing_arrives(service)


@contextlib.contextmanager
def half_sent(service: Running, key: str) -> Iterator[socket.socket]:
    """An upload of which half has been sent."""
    body = form(b"x" * 50_000, ("purpose", "fine-tune"))
    head = (
        f"POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\n"
        f"Authorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(head.encode() + body[: len(body) // 2])
        yield connection


def test_an_upload_that_breaks_off_leaves_nothing(service, client):
    with half_sent(service, client.api_key):
        for _ in range(2000):
            if arriving(service):
                break
            call(service.port, "GET", "/healthz")
        assert arriving(service), "the control: there was something to leave"
    wait_until_nothing_arrives(service)
    assert list(client.files.list()) == []


def test_an_upload_that_stalls_is_given_up(service, client):
    with half_sent(service, client.api_key) as connection:
        reply = http.client.HTTPResponse(connection)
        reply.begin()
        assert reply.status == 408
        assert b"did not arrive in time" in reply.read()
    wait_until_nothing_arrives(service)


def test_so_many_files_arrive_at_a_time(tmp_path):
    with (
        running(tmp_path, replace(ROOMY, uploads=2)) as service,
        half_sent(service, ""),
        half_sent(service, ""),
    ):
        for _ in range(2000):
            if len(arriving(service)) == 2:
                break
            call(service.port, "GET", "/healthz")
        body = form(labelled(), ("purpose", "fine-tune"))
        answer = send(service, body, "")
        assert answer.error == (429, "rate_limit_exceeded", None)
        assert int(answer.headers["retry-after"]) >= 1


def test_concurrent_uploads_all_arrive_whole(service, client):
    contents = [bytes([65 + number]) * 90_000 for number in range(6)]
    ids: dict[int, str] = {}

    def upload(number: int) -> None:
        ids[number] = service.upload(client, contents[number])

    threads = [threading.Thread(target=upload, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [client.files.content(ids[number]).content for number in range(6)] == contents
