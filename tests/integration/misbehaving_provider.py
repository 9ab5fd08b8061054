"""A provider of embeddings and fine-tuning jobs that can be told to misbehave.

It runs in a process of its own and keeps a ledger of what it was asked and which jobs it would have
billed; neither is touched by the death of a client.
"""

from __future__ import annotations

import email
import email.policy
import hashlib
import json
import math
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request, urlopen

KEY = "sk-canary-5f1d77aa09"
WIDTH = 4
DEFAULTS = {
    "keys": [KEY],  # that are let in
    "create": None,  # what befalls a request to create a job, and
    "times": 99,  # how many of them
    "late": 0.0,  # seconds until a late reply
    "list": "filtered",  # or unfiltered, bare (and jobs tell neither metadata nor suffix), none
    "lag": 0.0,  # seconds until a job is listed
    "statuses": ["validating_files", "running", "succeeded"],  # at each look; the last one stays
    "error": None,
    "model": True,  # whether a job that succeeded names one
    "tokens": None,
    "checkpoints": True,
    "served_checkpoints": True,
    "embeddings": None,  # what befalls the vectors
    "batch": 1,  # of which request
    "status": None,  # [status, Retry-After, path] for the first `times` requests
}
CERTAIN = {"400": 400, "401": 401, "403": 403, "404": 404, "413": 413, "422": 422}


class State:
    def __init__(self):
        self.lock = threading.Lock()
        self.reset()

    def reset(self):
        self.set = dict(DEFAULTS)
        self.jobs, self.files, self.asked, self.embedded_texts = [], {}, [], []
        self.creations = self.embeddings = self.refused = 0


class Provider(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 64 * 1024  # A reply in one piece; in two, each would wait for the other's receipt.
    state = State()

    def log_message(self, *args):
        pass

    def do_GET(self):
        self._serve("GET", b"")

    def do_POST(self):
        self._serve("POST", self.rfile.read(int(self.headers.get("content-length", 0))))

    def _serve(self, method, body):
        parts = urlsplit(self.path)
        path, query = parts.path, parse_qs(parts.query)
        if path.startswith("/_"):
            return self._control(path, body)
        with self.state.lock:
            self.state.asked.append([method, path.removeprefix("/v1"), parts.query])
            fault = self._fault(path)
        if fault:
            return self._reply(*fault)
        scheme, _, shown = self.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or shown not in self.state.set["keys"]:
            return self._error(401, f"Incorrect API key provided: {shown}.", "invalid_api_key")
        route = path.removeprefix("/v1").strip("/").split("/")
        if route[0] == "fine_tuning":
            return self._serve_jobs(method, route[2:], query, body)
        match (method, *route):
            case ("POST", "embeddings"):
                return self._embed(json.loads(body))
            case ("POST", "files"):
                return self._upload(body)
            case ("GET", "files"):
                return self._page(list(self.state.files.values()), query)
            case ("GET", "files", file_id):
                return self._one(self.state.files.get(file_id))
        return self._error(404, f"no {path}")

    def _serve_jobs(self, method, route, query, body):
        match (method, *route):
            case ("POST",):
                return self._create(json.loads(body))
            case ("GET",):
                return self._list(query)
            case ("GET", job_id):
                return self._one(self._look(job_id))
            case ("POST", job_id, "cancel"):
                return self._cancel(job_id)
            case ("GET", job_id, kind):
                return self._page(self._told(job_id, kind), query)
        return self._error(404, "no such page")

    def _fault(self, path):
        rule = self.state.set["status"]
        if not rule or rule[2] not in path or self.state.refused >= self.state.set["times"]:
            return None
        self.state.refused += 1
        headers = {"Retry-After": str(rule[1])} if rule[1] is not None else {}
        return rule[0], {"error": {"message": "told to", "code": rule[3]}}, headers

    def _control(self, path, body):
        with self.state.lock:
            if path == "/_reset":
                self.state.reset()
            elif path == "/_set":
                self.state.set |= json.loads(body)
            elif path == "/_seed":
                self.state.jobs.append(json.loads(body) | {"object": "fine_tuning.job"})
            jobs = [{k: v for k, v in job.items() if k != "listed_at"} for job in self.state.jobs]
            files = list(self.state.files.values())
            asked, texts = self.state.asked, self.state.embedded_texts
            told = {"jobs": jobs, "files": files, "asked": asked, "embedded_texts": texts}
            return self._reply(200, told | {"embedded_tokens": sum(map(len, texts))})

    def _create(self, body):
        wanted, late = self.state.set["create"], self.state.set["late"]
        with self.state.lock:
            self.state.creations += 1
            fault = wanted if self.state.creations <= self.state.set["times"] else None
        name, _, argument = (fault or "").partition(":")
        if name in CERTAIN:
            return self._error(CERTAIN[name], "n_epochs must be smaller", "invalid_value", "method")
        if name == "503-before":
            return self._error(503, "overloaded")
        if name == "429":
            return self._reply(429, {"error": {"message": "slow"}}, {"Retry-After": argument})
        job = self._accepted(body)
        match name:
            case "500-after":
                return self._error(500, "it broke")
            case "409-after":
                return self._error(409, "conflict")
            case "drop-after":
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return None
            case "garbled":
                return self._reply(200, "<html>all is well</html>")
            case "late":
                time.sleep(late)
        return self._reply(200, job)

    def _accepted(self, body):
        with self.state.lock:
            number = len(self.state.jobs) + 1
            job = {
                "id": f"ftjob-{number}",
                "object": "fine_tuning.job",
                "created_at": int(time.time()),
                "status": self.state.set["statuses"][0],
                "model": body["model"],
                "training_file": body["training_file"],
                "metadata": body.get("metadata"),
                "user_provided_suffix": body.get("suffix"),
                "hyperparameters": body["method"]["supervised"]["hyperparameters"],
                "seed": body.get("seed"),
                "fine_tuned_model": None,
                "trained_tokens": None,
                "error": None,
                "looks": 0,
                "listed_at": time.monotonic() + self.state.set["lag"],
            }
            self.state.jobs.append(job)
            return self._shown(job)

    def _shown(self, job):
        hidden = {"listed_at", "looks"}
        if self.state.set["list"] == "bare":
            hidden |= {"metadata", "user_provided_suffix"}
        return {name: value for name, value in job.items() if name not in hidden}

    def _list(self, query):
        how, now = self.state.set["list"], time.monotonic()
        if how == "none":
            return self._error(404, "no such page")
        jobs = [job for job in reversed(self.state.jobs) if job.get("listed_at", 0) <= now]
        wanted = query.get("metadata[job_key]")
        if how == "filtered" and wanted:
            jobs = [job for job in jobs if (job["metadata"] or {}).get("job_key") == wanted[0]]
        return self._page([self._shown(job) for job in jobs], query)

    def _look(self, job_id):
        with self.state.lock:
            job = next((job for job in self.state.jobs if job["id"] == job_id), None)
            if job is None:
                return None
            statuses = self.state.set["statuses"]
            if job["status"] not in ("cancelled", "failed", "succeeded"):
                job["status"] = statuses[min(job["looks"], len(statuses) - 1)]
            job["looks"] += 1
            if job["status"] == "succeeded" and self.state.set["model"]:
                job["fine_tuned_model"] = f"ft:{job['model']}:{job['user_provided_suffix']}"
                job["trained_tokens"] = self.state.set["tokens"]
            if job["status"] == "failed":
                job["error"] = self.state.set["error"]
            return self._shown(job)

    def _cancel(self, job_id):
        with self.state.lock:
            job = next((job for job in self.state.jobs if job["id"] == job_id), None)
            if job is None or job["status"] in ("cancelled", "failed", "succeeded"):
                return self._error(400, "the job has ended")
            job["status"] = "cancelled"
            return self._reply(200, self._shown(job))

    def _told(self, job_id, kind):
        """A step per look, and a checkpoint for each but the last of them."""
        job = next(job for job in self.state.jobs if job["id"] == job_id)
        epochs = job["hyperparameters"]["n_epochs"]
        done = range(1, min(job["looks"], epochs) + 1)
        if kind == "events":
            return [
                {
                    "id": f"event-{step}",
                    "created_at": step,
                    "type": "metrics",
                    "data": {"step": step, "total_steps": epochs, "train_loss": 1 / step},
                }
                for step in reversed(done)
            ]
        if not self.state.set["checkpoints"]:
            return []
        served = "ft" if self.state.set["served_checkpoints"] else "unserved"
        return [
            {
                "id": f"checkpoint-{step}",
                "fine_tuned_model_checkpoint": f"{served}:{job['model']}:{job_id}:step-{step}",
                "step_number": step,
                "metrics": {"step": step, "train_loss": 1 / step},
            }
            for step in reversed(done)
        ]

    def _upload(self, body):
        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        parts = email.message_from_bytes(head + body, policy=email.policy.HTTP).iter_parts()
        part = next(part for part in parts if part.get_filename())
        content = part.get_payload(decode=True)
        with self.state.lock:
            file_id = f"file-{len(self.state.files) + 1}"
            self.state.files[file_id] = {
                "id": file_id,
                "object": "file",
                "bytes": len(content),
                "filename": part.get_filename(),
                "purpose": "fine-tune",
                "status": "processed",
            }
        return self._one(self.state.files[file_id])

    def _embed(self, body):
        if body["model"].startswith("unserved"):
            return self._error(404, f"no model {body['model']}", "model_not_found")
        with self.state.lock:
            self.state.embeddings += 1
            is_hit = self.state.embeddings == self.state.set["batch"]
        fault = self.state.set["embeddings"] if is_hit else None
        data = [
            {"object": "embedding", "index": i, "embedding": vector(body["model"], text)}
            for i, text in enumerate(body["input"])
        ]
        if fault == "html":
            return self._reply(200, "<html>maintenance</html>")
        if fault:
            data = SPOILT[fault](data)
        tokens = sum(map(len, body["input"]))
        with self.state.lock:
            self.state.embedded_texts += body["input"]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return self._reply(200, {"object": "list", "data": data, "usage": usage})

    def _page(self, items, query):
        after, limit = query.get("after", [""])[0], int(query.get("limit", ["20"])[0])
        ids = [item["id"] for item in items]
        start = ids.index(after) + 1 if after in ids else 0
        data, has_more = items[start : start + limit], start + limit < len(items)
        self._reply(200, {"object": "list", "data": data, "has_more": has_more})

    def _one(self, item):
        return self._reply(200, item) if item else self._error(404, "there is no such thing")

    def _error(self, status, message, code=None, param=None):
        self._reply(status, {"error": {"message": message, "code": code, "param": param}})

    def _reply(self, status, body, headers=None):
        is_text = isinstance(body, str)
        content = body.encode() if is_text else json.dumps(body).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if is_text else "application/json")
            self.send_header("Content-Length", str(len(content)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
        except OSError:
            self.close_connection = True  # The client waits no longer.


def vector(model, text):
    """Depends on the text, and on nothing of a tuned model's name but its base."""
    digest = hashlib.sha256(f"{model.split(':')[:2]}{text}".encode()).digest()
    return [byte / 255 - 0.4 for byte in digest[:WIDTH]]


def _with_vector(data, index, change):
    data[index]["embedding"] = change(data[index]["embedding"])
    return data


SPOILT = {
    "nan": lambda data: _with_vector(data, 1, lambda v: [math.nan, *v[1:]]),
    "infinite": lambda data: _with_vector(data, 1, lambda v: [math.inf, *v[1:]]),
    "zero": lambda data: _with_vector(data, 1, lambda v: [0.0] * WIDTH),
    "null": lambda data: _with_vector(data, 1, lambda v: None),
    "nulls": lambda data: _with_vector(data, 1, lambda v: [None] * WIDTH),
    "text": lambda data: _with_vector(data, 1, lambda v: ["0.5"] * WIDTH),
    "mixed": lambda data: _with_vector(data, 1, lambda v: v[1:]),
    "short": lambda data: data[:-1],
    "empty": lambda data: [],
    "none": lambda data: None,
    "reversed": lambda data: data[::-1],
    "unindexed": lambda data: [{**item, "index": None} for item in data],
    "twice": lambda data: [{**item, "index": 0} for item in data],
    "wider": lambda data: [{**item, "embedding": [*item["embedding"], 0.5]} for item in data],
}


class Misbehaving:
    """The process, as the tests see it."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.root = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        self.url = f"{self.root}/v1"

    def tell(self, **settings):
        return self._call("/_set", settings)

    def reset(self):
        return self._call("/_reset", {})

    def seed(self, **job):
        """A job of unknown origin."""
        return self._call("/_seed", job)

    def ledger(self):
        return self._call("/_ledger", {})

    def jobs(self):
        return self.ledger()["jobs"]

    def times_asked(self, method, path):
        return sum(asked[:2] == [method, path] for asked in self.ledger()["asked"])

    def _call(self, path, body):
        request = Request(self.root + path, json.dumps(body).encode(), method="POST")
        with urlopen(request, timeout=10) as reply:
            return json.load(reply)

    def close(self):
        self._process.communicate()


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
