"""The parts of the fine-tuning service that need neither a server nor a process."""

from __future__ import annotations

import asyncio
import threading

import pytest
from starlette.datastructures import Headers
from starlette.requests import Request

from embedsweep.core.dataset import LabelledText, Pair, ScoredPair, TrainingSet
from embedsweep.core.ports import EpochEnd
from embedsweep.core.recipe import Loss
from embedsweep.serving.errors import ApiError
from embedsweep.serving.fine_tuning.database import Database
from embedsweep.serving.fine_tuning.hyperparameter_checks import asked
from embedsweep.serving.fine_tuning.hyperparameters import Unfit, resolved, suitable_loss
from embedsweep.serving.fine_tuning.identifiers import new_id, new_model_id
from embedsweep.serving.fine_tuning.limits import FineTuningLimits
from embedsweep.serving.fine_tuning.orders import EpochTold, StepTold
from embedsweep.serving.fine_tuning.runner import Pace
from embedsweep.serving.fine_tuning.training import TrainingWatch, finite
from embedsweep.serving.fine_tuning.tuned_shelf import OpenModels
from embedsweep.serving.fine_tuning.upload import Upload
from embedsweep.serving.gate import Gate
from embedsweep.serving.guards import ANYONE, key_guard, owner_of
from tests.integration.quick_trainer import NumberedEmbedder

LIMITS = FineTuningLimits()
LABELS = TrainingSet(
    texts=tuple(LabelledText(text, text[0]) for text in ("apple", "apricot", "bean", "beet"))
)
PAIRS = TrainingSet(pairs=(Pair("a", "b"), Pair("c", "d")))
TRIPLETS = TrainingSet(pairs=(Pair("a", "b", ("x",)), Pair("c", "d", ("y",))))
SOME_NEGATIVES = TrainingSet(pairs=(Pair("a", "b", ("x",)), Pair("c", "d")))
SCORED = TrainingSet(scored=(ScoredPair("a", "b", 1), ScoredPair("c", "d", 0)))
LONE = TrainingSet(texts=(LabelledText("a", "x"), LabelledText("b", "y")))


@pytest.mark.parametrize(
    ("data", "loss"),
    [
        (LABELS, Loss.MULTIPLE_NEGATIVES_RANKING),
        (PAIRS, Loss.MULTIPLE_NEGATIVES_RANKING),
        (SOME_NEGATIVES, Loss.MULTIPLE_NEGATIVES_RANKING),
        (TRIPLETS, Loss.TRIPLET),
        (SCORED, Loss.COSENT),
        (LONE, Loss.SOFTMAX),
    ],
)
def test_the_suitable_loss_can_be_fed(data, loss):
    assert suitable_loss(data) is loss
    assert loss.needs in data.forms
    recipe, settled = resolved({}, "base", 1, data)
    assert (recipe.loss, recipe.epochs, recipe.learning_rate) == (loss, 3, 2e-5)
    assert recipe.batch_size == len(data)
    assert settled["batch_size"] == len(data)


def test_a_batch_has_32_rows_where_there_are_so_many():
    many = TrainingSet(pairs=tuple(Pair(f"a{n}", f"b{n}") for n in range(100)))
    assert resolved({}, "base", 1, many)[0].batch_size == 32
    assert resolved({"batch_size": 64}, "base", 1, many)[0].batch_size == 64


def test_what_does_not_go_together_is_unfit():
    with pytest.raises(Unfit, match="triplet needs triplets"):
        resolved({"loss": "triplet"}, "base", 1, PAIRS)
    with pytest.raises(Unfit, match="has no margin"):
        resolved({"margin": 0.5}, "base", 1, PAIRS)
    assert resolved({"margin": 0.5}, "base", 1, TRIPLETS)[0].margin == 0.5


def test_hyperparameters_are_gathered_from_wherever_they_stand():
    request = {
        "loss": "triplet",
        "hyperparameters": {"n_epochs": 2, "batch_size": None},
        "method": {
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 2, "margin": 0.2}},
        },
    }
    assert asked(request, LIMITS) == {
        "n_epochs": 2,
        "batch_size": "auto",
        "learning_rate_multiplier": "auto",
        "loss": "triplet",
        "margin": 0.2,
    }
    request["hyperparameters"]["n_epochs"] = 3
    with pytest.raises(ApiError, match=r"is 2 here and 3 elsewhere"):
        asked(request, LIMITS)


def test_a_slip_of_the_pen_is_told_the_right_name():
    with pytest.raises(ApiError, match="did you mean n_epochs"):
        asked({"hyperparameters": {"n_epoch": 3}}, LIMITS)


def test_ids_have_openais_forms_and_do_not_repeat():
    assert len({new_id("file") for _ in range(1000)}) == 1000
    model = new_model_id("owner/base", "a b:c/d")
    assert model.startswith("ft:owner/base:embedsweep:a-b-c-d:")
    assert new_model_id("base", None).startswith("ft:base:embedsweep::")


def test_metrics_are_named_as_openais_and_finite():
    given = {"train/loss": 1, "valid/ndcg@10": 0.5, "odd": float("nan"), "far": float("inf")}
    assert finite(given) == {"train_loss": 1.0, "valid_ndcg_at_10": 0.5}


BODY = (
    b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n'
    b"Content-Type: text/plain\r\n\r\none\r\n--y\r\ntwo\r\n\r\n--x--\r\n"
)


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_an_upload_is_the_same_however_it_is_cut(tmp_path, size):
    path = tmp_path / "upload"
    upload = Upload("multipart/form-data; boundary=x", path, 100)
    for start in range(0, len(BODY), size):
        upload.feed(BODY[start : start + size])
    arrived = upload.arrived()
    assert path.read_bytes() == b"one\r\n--y\r\ntwo\r\n"
    assert (arrived.bytes, arrived.filename, arrived.lifetime) == (15, "a.jsonl", None)
    upload.close()
    assert not path.exists()


def test_an_upload_stops_at_its_bound(tmp_path):
    upload = Upload("multipart/form-data; boundary=x", tmp_path / "upload", 14)
    with pytest.raises(ApiError, match="more than 14 bytes"):
        upload.feed(BODY)
    upload.close()


def test_a_transaction_is_whole_or_nothing(tmp_path):
    database = Database(tmp_path / "rows.db")
    insert = "INSERT INTO files VALUES (NULL, ?, '', '', '', 0, 0, NULL, 0)"

    def break_off() -> None:
        with database.transaction() as rows:
            rows.execute(insert, ("a",))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert database.rows("SELECT * FROM files") == []
    with database.transaction() as rows:
        rows.execute(insert, ("a",))
    assert len(database.rows("SELECT * FROM files")) == 1, "the control"
    database.close()


def test_the_model_used_longest_ago_goes():
    models = OpenModels(2)
    opened: list[str] = []

    def get(name: str) -> object:
        return models.get(name, lambda: opened.append(name) or object())

    for name in "ababcab":
        get(name)
    assert opened == ["a", "b", "c", "a", "b"]
    models.drop("b")
    assert models.peek("b") is None
    assert models.peek("a") is not None


def test_a_model_that_failed_to_open_is_tried_again_by_who_waited():
    models = OpenModels(2)
    entered, go = threading.Event(), threading.Event()
    outcomes: list[str] = []

    def fail() -> object:
        entered.set()
        assert go.wait(10)
        raise OSError("not there")

    def first() -> None:
        with pytest.raises(OSError, match="not there"):
            models.get("a", fail)
        outcomes.append("failed")

    thread = threading.Thread(target=first)
    thread.start()
    assert entered.wait(10)
    go.set()
    assert models.get("a", object) is not None
    thread.join(10)
    assert outcomes == ["failed"]


def test_the_owner_is_the_keys_digest_and_nobody_where_there_are_no_keys():
    def owner(guard, **headers: str) -> str:
        scope = {"type": "http", "path": "/v1/files", "headers": []}
        guard(scope, Headers(headers))
        return owner_of(Request(scope))

    guard = key_guard(frozenset({"a", "b"}))
    owners = {owner(guard, authorization=f"Bearer {key}") for key in ("a", "b", " a ")}
    assert len(owners) == 2
    assert all(len(digest) == 64 for digest in owners)
    assert owner(key_guard(frozenset()), authorization="Bearer a") == ANYONE


def test_what_is_prepared_counts_as_in_flight_and_takes_no_turn():
    async def story() -> None:
        gate = Gate(concurrent=1, waiting=1)
        entered, go = threading.Event(), threading.Event()

        def work() -> int:
            entered.set()
            assert go.wait(10)
            return 7

        preparing = asyncio.create_task(gate.prepare(work))
        await asyncio.to_thread(entered.wait, 10)
        assert gate.in_flight == 1
        async with gate.turn():
            with pytest.raises(ApiError) as caught:
                await gate.prepare(work)
            assert caught.value.status == 429
        go.set()
        assert await preparing == 7
        assert gate.in_flight == 0
        gate.close()
        with pytest.raises(ApiError) as caught:
            await gate.prepare(work)
        assert caught.value.status == 503

    asyncio.run(story())


@pytest.mark.parametrize("order", ["step, metrics", "metrics, step", "step"])
def test_each_step_is_told_once_whether_it_has_metrics_or_not(tmp_path, order):
    told: list[object] = []
    watch = TrainingWatch(PAIRS, None, tmp_path, told.append)
    model = NumberedEmbedder(1)
    for step in range(1, 6):
        for part in order.split(", "):
            if part == "step":
                watch.on_step(step, 5)
            else:
                watch.on_metrics(step, {"train/loss": step})
    watch.on_epoch(EpochEnd(1, {"train/loss": 1.0}, model, model.save))
    steps = [report for report in told if isinstance(report, StepTold)]
    assert [report.step for report in steps] == [1, 2, 3, 4, 5]
    assert all(bool(report.metrics) is (order != "step") for report in steps)
    [epoch] = [report for report in told if isinstance(report, EpochTold)]
    assert (epoch.epoch, epoch.step, epoch.total) == (1, 5, 5)


def test_a_training_that_tells_of_no_steps_has_checkpoints_at_its_epochs(tmp_path):
    told: list[object] = []
    watch = TrainingWatch(PAIRS, None, tmp_path, told.append)
    for epoch in (1, 2):
        model = NumberedEmbedder(epoch)
        watch.on_epoch(EpochEnd(epoch, {}, model, model.save))
    assert [report.step for report in told] == [1, 2]
    watch.write(tmp_path / "metrics.csv")
    assert (tmp_path / "metrics.csv").read_text().split() == ["step,epoch", "1,1", "2,2"]
    assert watch.tokens == 4


def test_the_time_left_is_told_from_the_pace_so_far():
    times = iter((100.0, 110.0, 130.0))
    pace = Pace(lambda: next(times))
    assert [pace.seconds_left(done, 10) for done in (1, 2, 4)] == [None, 80.0, 60.0]
