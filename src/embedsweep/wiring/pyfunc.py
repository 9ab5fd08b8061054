"""What `mlflow.pyfunc.load_model` opens models of every kind with.

MLflow imports this module by its name, so a model contains no code. Adapters and hosted models are
kept as what finds the frozen model, or the provider's, again.
"""

from __future__ import annotations

import atexit
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embedsweep.core.errors import UsageError
from embedsweep.core.roles import ROLE_NAMES, TextRole, distinct_roles
from embedsweep.wiring.evidence import locations
from embedsweep.wiring.models import opener

if TYPE_CHECKING:
    from embedsweep.core.ports import Embedder

INPUT = "input"
INPUT_TYPE = "input_type"


class PyfuncModel:
    """A model as MLflow calls it.

    Args:
        embedder: The model.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - MLflow's
        """Embed texts.

        Args:
            model_input: A text; a list, array or column of texts; a table, whose column ``input``
                or else first column holds texts; or the body of a request to the OpenAI API.
            params: ``input_type`` is the role of the texts, by any name of `ROLE_NAMES`. A table's
                column ``input_type`` and a body's field of that name go before it.

        Returns:
            float32 of shape (texts, dimension); for a body, and for a table with a column
            ``input``, the reply that the OpenAI API gives.

        Raises:
            UsageError: If no role is given for a model that embeds queries and documents
                differently, or one that is unknown.
        """
        texts, roles = _read(model_input, (params or {}).get(INPUT_TYPE))
        vectors = np.zeros((len(texts), self._embedder.dimension), np.float32)
        tokens = 0
        for role in dict.fromkeys(roles):
            rows = [row for row, each in enumerate(roles) if each == role]
            some = [texts[row] for row in rows]
            known = self._role(role)
            vectors[rows] = self._embedder.embed(some, known)
            tokens += _tokens(self._embedder, some, known)
        return _reply(vectors.tolist(), tokens) if _is_request(model_input) else vectors

    def _role(self, name: str | None) -> TextRole:
        if name is None and not distinct_roles(self._embedder.effective_role):
            return TextRole.PLAIN
        if name is not None and name in ROLE_NAMES:
            return ROLE_NAMES[name]
        raise UsageError(
            f"{INPUT_TYPE} {name!r}",
            "the input of predict",
            "this model embeds queries and documents differently"
            if name is None
            else f"expected one of {', '.join(ROLE_NAMES)}",
            'pass params={"input_type": "query"} or params={"input_type": "document"}',
        )


def _is_request(model_input: Any) -> bool:  # noqa: ANN401 - MLflow's
    columns = getattr(model_input, "columns", None)
    return isinstance(model_input, dict) if columns is None else INPUT in columns


def _read(model_input: Any, named: str | None) -> tuple[list[str], list[str | None]]:  # noqa: ANN401 - MLflow's
    """Return the texts, and the name of each text's role or `None`."""
    columns = getattr(model_input, "columns", None)
    if columns is not None:
        others = [column for column in columns if column != INPUT_TYPE]
        texts = _listed(model_input[INPUT if INPUT in columns else others[0]].tolist())
        if INPUT_TYPE in columns:
            # An empty cell is not a number.
            cells = model_input[INPUT_TYPE].tolist()
            return texts, [each if isinstance(each, str) and each else named for each in cells]
        return texts, [named] * len(texts)
    if isinstance(model_input, dict):
        texts, named = _listed(model_input[INPUT]), model_input.get(INPUT_TYPE) or named
    else:
        texts = _listed(model_input)
    return texts, [named] * len(texts)


def _listed(given: Any) -> list[str]:  # noqa: ANN401 - MLflow's
    """Return the texts of a text, of what holds texts, or of a cell that holds a list of them."""
    texts = [given] if isinstance(given, str) else list(given)
    return list(texts[0]) if texts and isinstance(texts[0], list) else texts


def _load_pyfunc(path: str) -> PyfuncModel:
    """Open the model in a folder; MLflow calls it by this name."""
    running = ExitStack()
    atexit.register(running.close)
    home = locations(os.environ.get("EMBEDSWEEP_STORES")).home
    return PyfuncModel(running.enter_context(opener(home))(Path(path)))


def _tokens(embedder: Embedder, texts: list[str], role: TextRole) -> int:
    from embedsweep.serving.served import token_count

    return token_count(embedder, texts, role)


def _reply(vectors: list[list[float]], tokens: int) -> dict[str, Any]:
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(vectors)
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
