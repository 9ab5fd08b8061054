"""What `mlflow.pyfunc.load_model` opens adapters and hosted models with.

Those models are kept as what finds the frozen model, or the provider's, again. MLflow loads this
module by its name, so no code lies with the model.
"""

from __future__ import annotations

import atexit
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedsweep.wiring.evidence import locations
from embedsweep.wiring.models import opener

if TYPE_CHECKING:
    from embedsweep.core.ports import Embedder

INPUT_COLUMN = "input"
"""A table with this column is answered as the OpenAI API does, as by MLflow's own flavour."""


class PyfuncModel:
    """A model as MLflow calls it.

    Args:
        embedder: The model.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - MLflow's
        """Vectors of texts.

        Args:
            model_input: A text, a list or column of texts, or a table with texts in its first
                column.
            params: Not used.

        Returns:
            float32 of shape (texts, dimension); for a table whose first column is ``input``, the
            reply that the OpenAI API gives.
        """
        del params
        columns = getattr(model_input, "columns", None)
        if columns is None:
            texts = [model_input] if isinstance(model_input, str) else list(model_input)
            return self._embedder.embed(texts)
        texts = model_input.iloc[:, 0].tolist()
        if texts and isinstance(texts[0], list):
            texts = texts[0]
        vectors = self._embedder.embed(texts)
        if columns[0] != INPUT_COLUMN:
            return vectors
        return _reply(vectors.tolist(), _tokens(self._embedder, texts))


def _load_pyfunc(path: str) -> PyfuncModel:
    """Open the model in a folder; MLflow calls it by this name."""
    running = ExitStack()
    atexit.register(running.close)
    home = locations(os.environ.get("EMBEDSWEEP_STORES")).home
    return PyfuncModel(running.enter_context(opener(home))(Path(path)))


def _tokens(embedder: Embedder, texts: list[str]) -> int:
    from embedsweep.serving.served import token_count

    return token_count(embedder, texts)


def _reply(vectors: list[list[float]], tokens: int) -> dict[str, Any]:
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(vectors)
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
