"""The job book, in SQLite and in PostgreSQL."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import replace
from uuid import uuid4

import pytest
import sqlalchemy

from embedsweep.core.errors import Refusal, StoreError, UsageError
from embedsweep.core.jobs import Account, Charge, JobEnd, JobState
from embedsweep.stores.job_book import SqlJobBook
from embedsweep.stores.job_tables import SPENDING
from embedsweep.stores.owner import Owner
from tests.integration.forks import FORKS, race, run_to_the_end

ELSEWHERE = Owner("another-machine", 4711, "boot:1")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new' / 'jobs.db'}"
    return request.getfixturevalue("postgresql")


@pytest.fixture
def book(url):
    book = SqlJobBook(url)
    yield book
    book.close()


@pytest.fixture
def key():
    return uuid4().hex


@pytest.fixture
def account():
    return Account(f"sweep-{uuid4().hex}", 10.0)


def job(key, cost=3.0):
    return Charge(f"job {key}", "openai", "small", 1000, cost)


def test_a_job_goes_from_intent_to_success(book, key, account):
    claim = book.claim(key, job(key), account)
    assert (claim.is_mine, claim.is_new) == (True, True)
    assert (claim.record.state, claim.record.attempt) == (JobState.INTENDED, 1)
    book.renew(claim.record)
    record = book.submitted(claim.record, f"ftjob-{key}", "file-1")
    assert (record.state, record.job_id, record.file_id) == ("submitted", f"ftjob-{key}", "file-1")
    end = JobEnd(JobState.SUCCEEDED, "ft:small", tokens=900, cost=2.5)
    assert book.ended(record, end) == book.find(key)
    ended = book.find(key)
    assert (ended.state, ended.model, ended.tokens, ended.cost) == (
        "succeeded",
        "ft:small",
        900,
        2.5,
    )
    assert book.spent(account.scope) == 2.5
    assert [charge.cost for charge in book.entries(account.scope)] == [2.5]
    again = book.claim(key, job(key), account)
    assert (again.is_mine, again.record) == (False, ended)
    assert key in [record.key for record in book.jobs()]


def test_an_end_counts_once(book, key, account):
    record = book.submitted(book.claim(key, job(key), account).record, key, "file-1")
    book.ended(record, JobEnd(JobState.SUCCEEDED, "ft:small", cost=2.0))
    kept = book.ended(record, JobEnd(JobState.CANCELLED, cost=0.0))
    assert (kept.state, kept.model, kept.cost) == ("succeeded", "ft:small", 2.0)
    assert book.spent(account.scope) == 2.0


def test_a_success_without_a_model_may_get_one_later(book, key, account):
    record = book.submitted(book.claim(key, job(key), account).record, key, "file-1")
    assert book.ended(record, JobEnd(JobState.SUCCEEDED)).model is None
    assert book.ended(record, JobEnd(JobState.SUCCEEDED, "ft:small")).model == "ft:small"


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED])
def test_what_failed_or_was_cancelled_is_another_attempt(book, key, account, state):
    first = book.submitted(book.claim(key, job(key), account).record, f"1-{key}", "file-1")
    book.ended(first, JobEnd(state, message="out of luck", tokens=0, cost=0.0))
    claim = book.claim(key, job(key), account)
    assert (claim.is_new, claim.record.attempt) == (True, 2)
    assert book.spent(account.scope) == 3.0
    attempts = [record for record in book.jobs() if record.key == key]
    assert [(record.attempt, record.message) for record in attempts] == [
        (1, "out of luck"),
        (2, ""),
    ]


def test_a_withdrawn_intent_leaves_no_trace_but_an_entry_of_nothing(book, key, account):
    book.withdraw(book.claim(key, job(key), account).record)
    assert book.find(key) is None
    assert book.spent(account.scope) == 0.0
    assert [(charge.what, charge.cost) for charge in book.entries(account.scope)] == [
        (f"job {key}", 0.0)
    ]
    assert book.claim(key, job(key), account).is_new


def test_one_submits_and_the_others_are_told(book, url, key, account):
    book.claim(key, job(key), account)
    again = book.claim(key, job(key), account)
    assert (again.is_mine, again.record.state) == (False, JobState.INTENDED)
    assert book.spent(account.scope) == 3.0


def test_a_released_intent_falls_to_the_next_and_is_not_new(book, key, account):
    book.release(book.claim(key, job(key), account).record)
    claim = book.claim(key, job(key), account)
    assert (claim.is_mine, claim.is_new) == (True, False)
    assert book.spent(account.scope) == 3.0


def test_another_machines_intent_falls_to_us_when_its_lease_has_run_out(url, key, account):
    now = [1000.0]
    theirs = SqlJobBook(url, lambda: now[0], ELSEWHERE, lease=100)
    ours = SqlJobBook(url, lambda: now[0], lease=100)
    record = theirs.claim(key, job(key), account).record
    now[0] += 60
    theirs.renew(record)
    now[0] += 60
    assert not ours.claim(key, job(key), account).is_mine
    now[0] += 60
    claim = ours.claim(key, job(key), account)
    assert (claim.is_mine, claim.is_new) == (True, False)
    with pytest.raises(Refusal, match="another process took it up"):
        theirs.renew(record)
    with pytest.raises(Refusal, match="another process took it up"):
        theirs.submitted(record, "ftjob-1", "file-1")
    theirs.withdraw(record)
    assert ours.find(key).state is JobState.INTENDED
    for book in (ours, theirs):
        book.close()


def _claim_and_die(url, key, account):
    SqlJobBook(url).claim(key, job(key), account)


def test_an_intent_of_a_dead_process_falls_to_us_at_once(book, url, key, account):
    run_to_the_end(_claim_and_die, url, key, account)
    claim = book.claim(key, job(key), account)
    assert (claim.is_mine, claim.is_new) == (True, False)


def _claim_and_wait(url, key, account, ready, end):
    SqlJobBook(url).claim(key, job(key), account)
    ready.set()
    end.wait(60)


def test_an_intent_of_a_process_at_work_is_left_to_it(book, url, key, account):
    ready, end = FORKS.Event(), FORKS.Event()
    process = FORKS.Process(
        target=_claim_and_wait, args=(url, key, account, ready, end), daemon=True
    )
    process.start()
    try:
        assert ready.wait(60)
        assert not book.claim(key, job(key), account).is_mine
        with pytest.raises(Refusal, match=f"process {process.pid} of .* is submitting it"):
            book.resubmit(key)
    finally:
        end.set()
        process.join(60)


def _race_for_a_claim(gate, queue, url, key, account):
    book = SqlJobBook(url)
    gate.wait(60)
    queue.put(book.claim(key, job(key), account).is_mine)
    gate.wait(60)  # The claim of a process that has ended would fall to the next.


def test_of_eight_processes_one_claims_a_job(book, url, key, account):
    assert sorted(race(_race_for_a_claim, [(url, key, account)] * 8)) == [False] * 7 + [True]
    assert book.spent(account.scope) == 3.0


def _race_for_money(gate, queue, url, key, account):
    book = SqlJobBook(url)
    gate.wait(60)
    try:
        queue.put(book.claim(key, job(key), account).is_mine)
    except Refusal as refusal:
        queue.put(refusal.faults[0].what)


def test_eight_processes_spend_a_cap_to_the_last_job_that_fits(book, url, account):
    rivals = [(url, uuid4().hex, account) for _ in range(8)]
    results = race(_race_for_money, rivals)
    assert results.count(True) == 3
    assert results.count("budget reached (9.00 of 10.00)") == 5
    assert book.spent(account.scope) == 9.0
    assert [book.find(key) is None for _, key, _ in rivals].count(True) == 5


def test_a_check_before_the_debit_would_overspend(book, url, account):
    """The control: what is read in one transaction and written in another is overtaken."""
    gate = threading.Barrier(8)

    def spend():
        spent = book.spent(account.scope)
        gate.wait(60)
        if spent + 3 <= account.cap:
            book.debit(job("x"), Account(account.scope))

    threads = [threading.Thread(target=spend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert book.spent(account.scope) == 24.0


def test_a_refusal_ends_with_5_and_says_what_was_spent(book, key, account):
    for number in range(3):
        book.debit(job(number), account)
    with pytest.raises(Refusal, match=r"budget reached \(9.00 of 10.00\) in sweep") as caught:
        book.claim(key, job(key), account)
    assert caught.value.exit_code == 5
    assert book.find(key) is None
    assert book.claim(key, job(key, cost=1.0), account).is_new
    assert book.claim(uuid4().hex, job(key, cost=0.0), account).is_new


def test_a_settled_entry_gives_room_or_takes_it(book, account):
    entry = book.debit(job("x", 9.0), account)
    with pytest.raises(Refusal):
        book.debit(job("y", 2.0), account)
    book.settle(entry, 10, 0.5)
    assert book.spent(account.scope) == 0.5
    book.debit(job("y", 2.0), account)
    book.settle(entry, 10, 12.0)
    assert book.spent(account.scope) == 14.0
    with pytest.raises(Refusal, match=r"14\.00 of 10\.00"):
        book.debit(job("z", 0.01), account)


def test_small_sums_add_up_exactly(book):
    account = Account(f"sweep-{uuid4().hex}", 1.0)
    for _ in range(10):
        book.debit(job("x", 0.1), account)
    assert book.spent(account.scope) == 1.0
    with pytest.raises(Refusal):
        book.debit(job("x", 1e-9), account)
    assert sum([0.1] * 10) != 1.0  # As floating-point numbers they do not.


def test_uploads_are_known_by_their_content(book):
    provider, digest = f"http://{uuid4().hex}", "a" * 64
    assert book.upload(provider, digest) is None
    book.uploaded(provider, digest, "file-1")
    book.uploaded(provider, digest, "file-2")
    assert book.upload(provider, digest) == "file-2"
    assert book.upload("another", digest) is None


def test_no_two_keys_take_one_job(book, account):
    first, second = (book.claim(uuid4().hex, job("x"), account).record for _ in range(2))
    book.submitted(first, f"ftjob-{first.key}", "file-1")
    with pytest.raises(StoreError, match=f"it gave this id before, to job {first.key}"):
        book.submitted(second, f"ftjob-{first.key}", "file-1")
    book.resubmit(first.key)
    book.submitted(second, f"ftjob-{first.key}", "file-1")


def test_a_person_may_give_an_intent_up(book, key, account):
    book.release(book.claim(key, job(key), account).record)
    assert book.resubmit(key).state is JobState.INTENDED
    assert (book.find(key), book.spent(account.scope)) == (None, 0.0)
    with pytest.raises(UsageError, match="it has no such job"):
        book.resubmit(key)


def test_a_job_given_up_is_submitted_again_and_stays_paid(book, key, account):
    book.submitted(book.claim(key, job(key), account).record, key, "file-1")
    assert book.resubmit(key).state is JobState.SUBMITTED
    assert book.find(key).message == "given up by hand"
    assert book.claim(key, job(key), account).record.attempt == 2
    assert book.spent(account.scope) == 6.0


def test_the_book_may_share_the_database_of_a_study(url):
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    name = f"study-{uuid4().hex}"
    SqlJobBook(url).close()
    study = optuna.create_study(storage=url, study_name=name)
    study.tell(study.ask(), 0.5)
    book = SqlJobBook(url)
    book.debit(job("x"), Account(name))
    assert (book.spent(name), study.best_value) == (3.0, 0.5)
    book.close()
    study._storage.remove_session()


def _open(gate, queue, url):
    gate.wait(60)
    queue.put(SqlJobBook(url).spent("nothing"))


def test_a_new_book_may_be_opened_by_many_at_once(tmp_path):
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    assert race(_open, [(url,)] * 4) == [0.0] * 4


def test_a_book_that_is_none_is_told(tmp_path):
    (tmp_path / "jobs.db").write_text("this is a letter to my aunt\n" * 100)
    with pytest.raises(StoreError, match="file is not a database"):
        SqlJobBook(f"sqlite:///{tmp_path / 'jobs.db'}")
    with pytest.raises(UsageError, match="lives in SQLite or PostgreSQL") as caught:
        SqlJobBook("mysql://anna:hunter2@host/jobs")
    assert "hunter2" not in str(caught.value)


def test_a_lost_table_is_told(tmp_path, key, account):
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    book = SqlJobBook(url)
    engine = sqlalchemy.create_engine(url)
    SPENDING.drop(engine)
    engine.dispose()
    with closing(book), pytest.raises(StoreError, match="no such table") as caught:
        book.claim(key, job(key), replace(account, cap=None))
    assert caught.value.exit_code == 4
