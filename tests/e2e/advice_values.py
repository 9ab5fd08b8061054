"""Advice on the values of an experiment file."""

from __future__ import annotations

from tests.e2e.advice_config import ARM, LOW_TO_HIGH, arm
from tests.e2e.advice_world import Row, drop, environ, put, steps, swap, then

ROWS = [
    Row("write a path or a name", put("data.train", 5), then(put("data.train", "train.jsonl"))),
    Row(
        "set {…}, or write ${{…}:-default}",
        put("data.train", "${FOLDER}/train.jsonl"),
        then(environ("FOLDER", ".")),
    ),
    Row(
        "set {…}, or write ${{…}:-default}",
        put("data.train", "${FOLDER}/train.jsonl"),
        then(put("data.train", "${FOLDER:-.}/train.jsonl")),
    ),
    Row(
        "close the brace, and name the variable in letters, digits and _",
        put("data.train", "${FOLD-ER/train.jsonl"),
        then(steps(put("data.train", "${FOLDER}/train.jsonl"), environ("FOLDER", "."))),
    ),
    Row(
        "name the one measure that decides; the others can be guards",
        put("objective", ["accuracy", "map"]),
        then(steps(put("objective", "accuracy"), put("guards", {"map": 0}))),
    ),
    Row(
        "write a measure, such as ndcg@10",
        put("objective", 5),
        lambda world, fault: world.put("objective", fault.fix.split()[-1]),
    ),
    Row(
        "write one of these, such as ndcg@10",
        put("objective", "bleu"),
        lambda world, fault: world.put("objective", fault.fix.split()[-1]),
    ),
    Row("did you mean {…}? Write {…}", put("objective", "acuracy")),
    Row("did you mean {…}? Write {…}", put("objective", "NDGC@5")),
    Row("write {…}", put("search.sampler", "tep")),
    Row("did you mean {…}? Write {…}", swap("search:", "serch:")),
    Row(
        "did you mean {…}? Write {…}",
        steps(put(f"{ARM}.lr", 2e-5), drop(f"{ARM}.learning_rate")),
    ),
    Row("choose another than {…}", put("objective", "macro_f1"), then(put("objective", "map"))),
    *(
        Row(
            "write a number, such as 3 or 1e-5",
            put(place, value),
            lambda world, fault: world.put(fault.what, 3 if "trials" in fault.what else 1e-5),
        )
        for place in ("search.trials", f"{ARM}.learning_rate")
        for value in ("abc", float("inf"), True)
    ),
    Row("write a number without fraction", arm(epochs=1.5), then(arm(epochs=1))),
    Row(
        "write the value itself, {…}",
        arm(epochs={"low": 2, "high": 2}),
        lambda world, fault: world.put(f"{ARM}.epochs", int(fault.fix.split()[-1])),
    ),
    Row("write low: {…} and high: {…}", arm(epochs={"low": 3, "high": 1})),
    Row(
        "raise low above 0 or leave log out",
        arm(weight_decay={"low": 0, "high": 0.1, "log": True}),
        then(arm(weight_decay={"low": 0.001, "high": 0.1, "log": True})),
    ),
    Row(
        "raise low above 0 or leave log out",
        arm(weight_decay={"low": 0, "high": 0.1, "log": True}),
        then(arm(weight_decay={"low": 0, "high": 0.1})),
    ),
    Row("write 'spending: even', or at most {…} looks", put("promotion", {"looks": 15})),
    Row(
        "write 'spending: even', or at most {…} looks",
        put("promotion", {"looks": 15}),
        then(put("promotion.looks", 10)),
    ),
    *(Row("add it, such as `{…}`", drop(key)) for key in ("name", "objective", "search")),
    Row("add it, such as `{…}`", drop("search.trials")),
    Row("add it, such as `{…}`", drop("search.arms")),
    Row("add it, such as `{…}`", drop(f"{ARM}.base_model")),
    Row("add it, such as `{…}`", arm(epochs={"low": 1})),
    Row("add it, such as `{…}`", arm(epochs={"high": 5})),
    Row(
        "write {…}",
        put("search.pruner", 5),
        lambda world, fault: world.put("search.pruner", fault.fix.split("'")[1]),
    ),
    Row(
        "write text; in quotes if it looks like a number",
        put("name", 2024),
        then(put("name", "2024")),
    ),
    Row("write a name or remove the key", put("data.slice_by", ""), then(drop("data.slice_by"))),
    Row(
        "write a name or remove the key",
        put("data.slice_by", ""),
        then(put("data.slice_by", "metadata.label")),
    ),
    Row("write a shorter name", put("data.name", "x" * 201), then(put("data.name", "x" * 200))),
    Row("write {…}", put("name", "a/b"), then(put("name", "a-b"))),
    Row("write true or false, without quotes", put("promotion", {"any_dimension": "yes"})),
    Row("write a number above {…}", put("promotion", {"confidence": 0.5})),
    Row("write a number above {…}", arm(learning_rate=0)),
    Row("write {…} or more", put("search.trials", 0)),
    Row("write a number below {…}", put("promotion", {"confidence": 1})),
    Row("write a number below {…}", put("search.seed", 2**32)),
    Row("write {…} or less", put("search.finalists", {"top": 1000})),
    Row("add a value to the list", arm(loss=[]), then(arm(loss=["softmax"]))),
    Row(
        "write a list, each item after a dash",
        put("search.arms", {"backend": "local"}),
        then(put("search.arms", [{"backend": "local", "base_model": "all-MiniLM-L6-v2"}])),
    ),
    Row(
        "write `key: value` lines below it",
        put("guards", [0.1]),
        then(put("guards", {"map": -0.1})),
    ),
    Row("write `key: value` lines below it", put("budget", 5), then(put("budget", {"minutes": 5}))),
    Row("write one value or a list", arm(loss=LOW_TO_HIGH), then(arm(loss="softmax"))),
    *(
        Row(
            "write off to allow any loss, or the largest loss allowed, such as -0.01",
            put("guards", {"map": "maybe"}),
            then(put("guards.map", allowed)),
        )
        for allowed in ("off", -0.01)
    ),
]
