"""A BERT with the modules behind it, forwarded without padding from token ids made once.

Training and embedding both run on lanes: each thread of the processor forwards micro-batches of
its own. The lanes of a training step have leaves of their own for the weights, so their gradients
are summed in an order that does not depend on who was faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.nn import functional

from embedsweep.backends.local.array_store import ArrayStore
from embedsweep.backends.local.frozen_states import frozen_states, kept_states
from embedsweep.backends.local.lanes import on_lanes
from embedsweep.backends.local.micro_batches import even_parts
from embedsweep.backends.local.packed_bert import PackedBert, TextRows
from embedsweep.backends.local.packed_step import PackedStep
from embedsweep.backends.local.tokens import TextTokenizer, tokenized
from embedsweep.core.ports import FloatArray
from embedsweep.core.trial import TrialFailure

LANE_TOKENS = 2048
"""Forwarded together by each thread."""


class PackedModel:
    """Forwards the texts of a model that `packed_bert.fits`.

    Args:
        model: The model; whether it drops values follows its training mode.
        precision: What the layers compute in.
        limit: Tokens read of a text, special ones included, where that is less than the model's
            own limit; None for that.
        store: Where token ids, and what frozen layers make of them, are kept; None for nowhere.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        precision: torch.dtype,
        limit: int | None,
        store: ArrayStore | None,
    ) -> None:
        self._model = model
        self._bert = PackedBert(model, precision)
        limits = [each for each in (model.max_seq_length, limit) if each is not None]
        self._tokenizer = TextTokenizer(
            model.tokenizer.backend_tokenizer, min(limits, default=None)
        )
        self._store = store or ArrayStore()
        self._prepared: dict[str, TextRows] = {}
        self._keeps_states = False

    def prepare(self, texts: Iterable[str]) -> None:
        """Do at once what is the same at every step: tokenize, and forward what is frozen."""
        distinct = list(dict.fromkeys(texts))
        ids = tokenized(self._tokenizer, distinct, self._store)
        states = kept_states(self._bert, ids, self._store) if self._bert.frozen else None
        self._keeps_states = states is not None
        self._prepared.update(zip(distinct, states or ids, strict=True))

    def embed(self, texts: Sequence[str]) -> FloatArray:
        """Unit vectors of the texts, (texts, dimension); a zero vector stays zero."""
        ids = tokenized(self._tokenizer, texts, self._store)
        batches = even_parts(ids.lengths.tolist(), LANE_TOKENS, torch.get_num_threads())
        # The longest first, so that no lane is left alone with them in the end.
        batches.reverse()
        with torch.inference_mode():
            weights = self._bert.weights().lowered(self._bert.precision)

        def vectors(places: Sequence[int]) -> FloatArray:
            # The mode belongs to a thread.
            with torch.inference_mode():
                pooled = self._bert.pooled(weights, [ids[place] for place in places])
                rows: FloatArray = functional.normalize(self._behind(pooled), dim=1).numpy()
            return rows

        return np.concatenate(on_lanes(vectors, batches))[np.argsort(np.concatenate(batches))]

    def backward(
        self,
        texts: Sequence[str],
        objective: Callable[[Tensor], Tensor],
        mini_batch: int | None = None,
    ) -> Tensor:
        """Leave the gradients of a loss in the parameters; returns the loss.

        The loss sees the vectors of all texts at once. Where memory does not suffice for what a
        backward pass needs of them all, they are forwarded twice, with the same drops: Gao et al.
        2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup".

        Args:
            texts: Prepared before.
            objective: From vectors, (texts, dimension), to the loss.
            mini_batch: Forward twice whatever memory there is, at most so many texts at a time.
        """
        rows = [self._prepared[text] for text in texts]
        if self._bert.frozen and not self._keeps_states:
            rows = frozen_states(self._bert, rows)
        step = PackedStep(self._bert, rows, mini_batch)
        pooled = step.forward(drops=self._model.training).requires_grad_()
        loss = objective(self._behind(pooled))
        loss.backward()  # type: ignore[no-untyped-call]
        if pooled.grad is None:
            raise TrialFailure("no_gradient", "the loss does not depend on the vectors")
        step.backward(pooled.grad)
        return loss

    def _behind(self, pooled: Tensor) -> Tensor:
        """What the modules behind the pooling make of its vectors."""
        features = {"sentence_embedding": pooled}
        for module in list(self._model)[2:]:
            features = module(features)
        return features["sentence_embedding"].float()
