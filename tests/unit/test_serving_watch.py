from __future__ import annotations

import threading

from embedsweep.serving.watch import LONGEST_REST, AliasWatch, polling


def refreshes_until_tried(watch: AliasWatch, number: int) -> int:
    passed = 0
    while watch.rests(number):
        passed += 1
    return passed


def test_a_version_that_fails_rests_ever_longer_up_to_a_bound():
    watch = AliasWatch()
    rests = []
    for _ in range(9):
        watch.refuse(8)
        rests.append(refreshes_until_tried(watch, 8))
    assert rests == [1, 3, 7, 15, 31, 63, 63, 63, 63]
    assert rests[-1] == LONGEST_REST


def test_another_version_never_waits_for_the_one_that_failed():
    watch = AliasWatch()
    watch.refuse(8)
    assert not watch.rests(9)


def test_a_failure_is_news_once_for_each_version():
    watch = AliasWatch()
    assert [watch.refuse(number) for number in (8, 8, 8, 9, 9)] == [True, False, False, True, False]


def test_an_outage_is_news_again_once_it_was_over():
    watch = AliasWatch()
    assert [watch.lose("gone"), watch.lose("gone"), watch.lose("down")] == [True, False, True]
    assert watch.in_trouble
    watch.outage = None
    assert not watch.in_trouble
    assert watch.lose("gone")


def test_polling_calls_until_the_context_ends():
    calls = threading.Semaphore(0)
    with polling(calls.release, 0.001):
        assert all(calls.acquire(timeout=5) for _ in range(3))
    for thread in threading.enumerate():
        if thread.name == "follow-champion":
            thread.join(5)
            assert not thread.is_alive()
