"""Where the evidence is kept: an environment file, the real environment, and the defaults.

Of a key the real environment's value counts first, then the file's, then the default, which lies
in the home folder. Passwords belong in the real environment; in a file they are refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from embedsweep.config.reading import holds_secret, masked, read_text
from embedsweep.config.refusal import expanded, nearest
from embedsweep.core.errors import Fault, UsageError

TRACKING = "MLFLOW_TRACKING_URI"
ARTIFACTS = "EMBEDSWEEP_ARTIFACTS"
STUDY = "EMBEDSWEEP_STUDY_URL"
HOME = "EMBEDSWEEP_HOME"
KEYS = (TRACKING, ARTIFACTS, STUDY, HOME)

DATABASES = ("sqlite", "postgresql", "mysql")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9-]+)(?:\+[A-Za-z0-9_]+)?:")
_LINE = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*")
_COMMENT = re.compile(r"\s#.*")


@dataclass(frozen=True)
class StoreLocations:
    """Where the stores are.

    Attributes:
        tracking_uri: MLflow's tracking store and registry, a database URL or an HTTP server.
        artifacts: Where new MLflow experiments keep their files: an absolute path, or a URI.
        study_url: The database of the studies.
        home: Absolute folder for locks and work in progress.
    """

    tracking_uri: str
    artifacts: str
    study_url: str
    home: Path


@dataclass(frozen=True)
class _Setting:
    """A value as written, where it was written, and the folder its relative paths start at."""

    key: str
    text: str
    where: str
    folder: Path
    line: int | None = None

    def fault(self, why: str, fix: str) -> Fault:
        return Fault(self.key, self.where, why, fix, self.line)


def load_environment(file: Path | None, environ: Mapping[str, str]) -> StoreLocations:
    """The locations of the stores.

    Args:
        file: ``KEY=VALUE`` lines; relative paths in it start at its folder. None for no file.
        environ: The real environment; relative paths in it start at the current directory, as do
            the defaults: ``mlruns`` is the home, and everything lies in it.

    Raises:
        UsageError: With every fault of the file and of the values.
    """
    faults: list[Fault] = []
    settings = {} if file is None else _read(file, environ, faults)
    for key in KEYS:
        if environ.get(key):
            settings[key] = _Setting(key, environ[key], "the environment", Path.cwd())

    def located(key: str, read: Callable[[_Setting], str], default: str) -> str:
        setting = settings.get(key)
        if setting is None:
            return default
        try:
            _printable(setting.text)
            return read(setting)
        except ValueError as error:
            faults.append(setting.fault(*error.args))
            return default

    home = located(HOME, _folder, _absolute(Path.cwd(), "mlruns"))
    locations = StoreLocations(
        tracking_uri=located(TRACKING, _tracking_uri, f"sqlite:///{_in_url(home)}/mlflow.db"),
        artifacts=located(ARTIFACTS, _path_or_uri, f"{home}/artifacts"),
        study_url=located(STUDY, _database_url, f"sqlite:///{_in_url(home)}/study.db"),
        home=Path(home),
    )
    if faults:
        raise UsageError.of(sorted(faults, key=lambda fault: fault.line or 0))
    return locations


def _read(path: Path, environ: Mapping[str, str], faults: list[Fault]) -> dict[str, _Setting]:
    folder = path.absolute().parent.resolve()
    settings: dict[str, _Setting] = {}
    for number, row in enumerate(read_text(path, "environment file").splitlines(), start=1):
        if not row.strip() or row.lstrip().startswith("#"):
            continue
        found = _LINE.fullmatch(_COMMENT.sub("", row))
        if not found:
            why, fix = "this line is no KEY=VALUE", "write KEY=VALUE, or # before a comment"
            faults.append(Fault("environment file", str(path), why, fix, number))
            continue
        setting = _Setting(found[1], _unquoted(found[2]), str(path), folder, number)
        try:
            _check(setting, settings)
            text = expanded(setting.text, environ)
        except ValueError as error:
            faults.append(setting.fault(*error.args))
            continue
        settings[setting.key] = _Setting(setting.key, text, str(path), folder, number)
    return settings


def _check(setting: _Setting, before: Mapping[str, _Setting]) -> None:
    """Refuse what may not stand in a file at all, with `ValueError` (why, fix)."""
    if setting.key not in KEYS:
        meant = nearest(setting.key, [key.lower() for key in KEYS])
        meant = meant and meant.upper()
        fix = (
            f"did you mean {meant}? Write {meant}" if meant else "set it in the environment instead"
        )
        raise ValueError(f"this key is not read from here, expected {', '.join(KEYS)}", fix)
    if setting.key in before:
        raise ValueError(f"it stands on line {before[setting.key].line} already", "remove one")
    if not setting.text:
        raise ValueError("it has no value", "write a value or remove the line")
    if holds_secret(setting.text):
        why = f"{masked(setting.text)} holds a password, and files are shared and kept"
        raise ValueError(why, f"remove it here and set {setting.key} in the environment")


def _printable(text: str) -> None:
    if not text.isprintable():
        raise ValueError("it holds a character that cannot be printed", "write it again by hand")


def _unquoted(text: str) -> str:
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1] if quoted else text


def _absolute(folder: Path, text: str) -> str:
    return os.path.normpath(folder / text)


def _scheme(text: str) -> str | None:
    found = _SCHEME.match(text)
    return found[1].lower() if found else None


def _folder(setting: _Setting) -> str:
    if _scheme(setting.text):
        why = f"{masked(setting.text)} is a URL, expected a folder on this machine"
        raise ValueError(why, "write a path")
    return _absolute(setting.folder, setting.text)


def _path_or_uri(setting: _Setting) -> str:
    return setting.text if _scheme(setting.text) else _folder(setting)


def _tracking_uri(setting: _Setting) -> str:
    if _scheme(setting.text) not in ("http", "https"):
        return _database_url(setting, "http://HOST:PORT or a ")
    if not urlsplit(setting.text).hostname:
        raise ValueError(f"{masked(setting.text)} names no host", "write http://HOST:PORT")
    return setting.text


def _database_url(setting: _Setting, others: str = "a ") -> str:
    """The URL, a relative SQLite file in it made absolute."""
    scheme, seen = _scheme(setting.text), masked(setting.text)
    if scheme not in DATABASES:
        why = f"{seen}, expected {others}URL that begins with {', '.join(DATABASES)}"
        raise ValueError(why, "write a URL, such as sqlite:///mlruns/study.db")
    if scheme != "sqlite":
        if not urlsplit(setting.text).hostname:
            raise ValueError(f"{seen} names no host", f"write {scheme}://USER@HOST/DATABASE")
        return setting.text
    start, slashes, rest = setting.text.partition(":///")
    file, mark, options = rest.partition("?")
    if not slashes or not file or file == ":memory:":
        why = f"{seen} names no file, and what is kept in memory is lost"
        raise ValueError(why, "write sqlite:///FILE")
    absolute = _absolute(Path(_in_url(str(setting.folder))), file)
    return f"{start}{slashes}{absolute}{mark}{options}"


def _in_url(path: str) -> str:
    """Encode what a database URL would decode or end at, because folders may be named so."""
    return path.replace("%", "%25").replace("?", "%3F").replace("#", "%23")
