"""BERT without padding: the texts of a micro-batch lie behind one another as one long matrix.

Every product and every layer norm works on real tokens alone; only attention knows where a text
ends. The parameters stay those of the sentence-transformers model, in float32: what is trained,
saved and served is that model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertModel, RobertaModel, XLMRobertaModel
from transformers.models.bert.modeling_bert import BertLayer

from embedsweep.backends.local.dropout import dropout_factors
from embedsweep.backends.local.packed_attention import PackedAttention
from embedsweep.backends.local.packing import Packing
from embedsweep.backends.local.word_gradient import WordGradient

TextRows = npt.NDArray[Any]
"""One row per token of a text: its number, or its state, (tokens,) or (tokens, width)."""

_NETWORKS = (BertModel, RobertaModel, XLMRobertaModel)
_POOLING = ("mean", "cls")


def fits(model: SentenceTransformer) -> bool:
    """Whether the model is a BERT, on a processor, pooled by the mean or the first token."""
    if model.device.type != "cpu" or len(model) < 2:
        return False
    transformer, pooling = model[0], model[1]
    if not isinstance(transformer, Transformer) or not isinstance(pooling, Pooling):
        return False
    network = transformer.model
    config = network.config
    return (
        type(network) in _NETWORKS
        and pooling.pooling_mode in _POOLING
        and pooling.include_prompt
        and config.hidden_act == "gelu"
        and getattr(config, "position_embedding_type", "absolute") in (None, "absolute")
        and not config.is_decoder
    )


@dataclass(frozen=True, slots=True)
class Layer:
    """The weights of one layer; queries, keys and values are one matrix."""

    project_weight: Tensor
    project_bias: Tensor
    attended_weight: Tensor
    attended_bias: Tensor
    attended_norm_weight: Tensor
    attended_norm_bias: Tensor
    widen_weight: Tensor
    widen_bias: Tensor
    narrow_weight: Tensor
    narrow_bias: Tensor
    narrow_norm_weight: Tensor
    narrow_norm_bias: Tensor


@dataclass(frozen=True, slots=True)
class Embedding:
    """The weights below the layers.

    Attributes:
        words: One row per token id that the texts are given in.
        positions: One row per position.
        kind: The row of the first token type.
        norm_weight, norm_bias: Of the layer norm.
    """

    words: Tensor
    positions: Tensor
    kind: Tensor
    norm_weight: Tensor
    norm_bias: Tensor


@dataclass(frozen=True, slots=True)
class Weights:
    """What a forward pass multiplies with.

    Attributes:
        embedding: None where it begins with the states that layers below made.
        layers: From the lowest to the highest.
    """

    embedding: Embedding | None
    layers: tuple[Layer, ...]

    def __iter__(self) -> Iterator[Tensor]:
        for part in (self.embedding, *self.layers):
            for field in fields(part) if part is not None else ():
                yield getattr(part, field.name)

    def map(self, change: Callable[[Tensor], Tensor]) -> Weights:
        """Every tensor changed."""
        changed = iter([change(tensor) for tensor in self])
        embedding = None
        if self.embedding is not None:
            embedding = Embedding(*(next(changed) for _ in fields(Embedding)))
        layers = [Layer(*(next(changed) for _ in fields(Layer))) for _ in self.layers]
        return Weights(embedding, tuple(layers))

    def lowered(self, precision: torch.dtype) -> Weights:
        """The layers' matrices and their biases in the precision; norms and tables as they are."""
        low = {
            id(getattr(layer, field.name))
            for layer in self.layers
            for field in fields(layer)
            if "norm" not in field.name
        }
        return self.map(lambda tensor: tensor.to(precision) if id(tensor) in low else tensor)


class PackedBert:
    """Forwards token ids through a BERT and its pooling.

    Args:
        model: One that `fits`. Whether values are dropped follows its training mode; which
            weights are trained, ``requires_grad`` tells now.
        precision: What matrices are multiplied in. What goes from layer to layer stays float32:
            sums over many tokens, such as the gradients of layer norms, need it.

    Attributes:
        frozen: The number of lowest layers below which nothing is trained, themselves included.
        width: Of the states between layers.
    """

    def __init__(self, model: SentenceTransformer, precision: torch.dtype) -> None:
        self._network = cast("BertModel", model[0].model)
        self._config = self._network.config
        self._embeddings = self._network.embeddings
        self._layers = cast("list[BertLayer]", list(self._network.encoder.layer))
        # The last layer's stand for all: those of a frozen one drop nothing.
        self._dropout: nn.Dropout = self._layers[-1].output.dropout
        self._attention_dropout: nn.Dropout = self._layers[-1].attention.self.dropout
        self._first_token = model[1].pooling_mode == "cls"
        self._words = WordGradient(self._embeddings.word_embeddings.weight)
        self.precision = precision
        self.width: int = self._config.hidden_size
        trained = [_is_trained(part) for part in (self._embeddings, *self._layers)]
        self.frozen = 0 if trained[0] else trained.index(True, 1) - 1 if any(trained) else 0
        self._first_position = 0
        if not isinstance(self._network, BertModel):
            # RoBERTa counts its positions from behind the padding's.
            self._first_position = self._config.pad_token_id + 1

    def weights(self) -> Weights:
        """All of the model's weights, in float32."""
        return Weights(self._embedding(), tuple(map(_layer, self._layers)))

    def frozen_weights(self) -> Weights:
        """Those that make the states which the trained layers begin with."""
        return Weights(self._embedding(), tuple(map(_layer, self._layers[: self.frozen])))

    def weights_above(self, tokens: Tensor | None = None) -> Weights:
        """Those above the frozen layers, with gradients flowing back to the trained ones.

        Args:
            tokens: Ids of the words whose rows are wanted, each once, in the order in which texts
                number them; not needed where layers are frozen.
        """
        embedding = self._embedding(tokens) if not self.frozen else None
        return Weights(embedding, tuple(map(_layer, self._layers[self.frozen :])))

    def _embedding(self, tokens: Tensor | None = None) -> Embedding:
        table = self._embeddings.word_embeddings.weight
        return Embedding(
            words=table if tokens is None else self._words.rows(tokens),
            positions=self._embeddings.position_embeddings.weight,
            kind=self._embeddings.token_type_embeddings.weight[0],
            norm_weight=self._embeddings.LayerNorm.weight,
            norm_bias=self._embeddings.LayerNorm.bias,
        )

    @property
    def largest_state(self) -> float:
        """No state above the frozen layers is larger: a norm's rows have at most this length."""
        norm = self._layers[self.frozen - 1].output.LayerNorm
        with torch.no_grad():
            return float(norm.weight.abs().max() * self.width**0.5 + norm.bias.abs().max())

    def bytes_kept(self, length: int) -> int:
        """What a backward pass needs of one token of a text of so many tokens, about."""
        wide, heads = self._config.intermediate_size, self._config.num_attention_heads
        numbers = 18 * self.width + 2 * wide + 2 * heads * length
        return int(numbers * (len(self._layers) - self.frozen) * self.precision.itemsize)

    def pooled(
        self, weights: Weights, texts: Sequence[TextRows], generator: torch.Generator | None = None
    ) -> Tensor:
        """Pooled vectors of a micro-batch, (texts, width), float32.

        Args:
            weights: Already `lowered`.
            texts: Token numbers, or where the weights begin above them, states; the shortest text
                first.
            generator: Whom drops are drawn from; None for no drops.
        """
        packing = self._packing(texts)
        hidden = self._hidden(weights, texts, packing, generator)
        if self._first_token:
            return hidden[packing.starts]
        sums = hidden.new_zeros(len(texts), hidden.shape[1])
        return sums.index_add(0, packing.text_of, hidden) / packing.lengths.unsqueeze(1)

    def hidden(self, weights: Weights, texts: Sequence[TextRows]) -> Tensor:
        """The states above the weights, (tokens, width), float32; the arguments are `pooled`'s."""
        return self._hidden(weights, texts, self._packing(texts), None)

    def _packing(self, texts: Sequence[TextRows]) -> Packing:
        heads = self._config.num_attention_heads
        return Packing([len(text) for text in texts], heads, self.precision)

    def _hidden(
        self,
        weights: Weights,
        texts: Sequence[TextRows],
        packing: Packing,
        generator: torch.Generator | None,
    ) -> Tensor:
        rows = torch.from_numpy(np.concatenate(texts))
        if weights.embedding is None:
            hidden = rows.float()
        else:
            hidden = self._embedded(weights.embedding, rows, packing)
            hidden = self._dropped(hidden, generator, self._embeddings.dropout)
        for layer in weights.layers:
            hidden = self._forward(layer, hidden, packing, generator)
        return hidden

    def _embedded(self, weights: Embedding, tokens: Tensor, packing: Packing) -> Tensor:
        places = packing.positions + self._first_position
        summed = (
            functional.embedding(tokens, weights.words)
            + functional.embedding(places, weights.positions)
            + weights.kind
        )
        return self._normed(summed, weights.norm_weight, weights.norm_bias)

    def _forward(
        self,
        layer: Layer,
        hidden: Tensor,
        packing: Packing,
        generator: torch.Generator | None,
    ) -> Tensor:
        drop = self._attention_dropout.p if generator is not None else 0.0
        low = hidden.to(self.precision)
        projected = functional.linear(low, layer.project_weight, layer.project_bias)
        attended: Tensor = PackedAttention.apply(  # type: ignore[no-untyped-call]
            projected, packing, drop, generator
        )
        attended = functional.linear(attended, layer.attended_weight, layer.attended_bias)
        hidden = self._normed(
            hidden + self._dropped(attended, generator, self._dropout),
            layer.attended_norm_weight,
            layer.attended_norm_bias,
        )
        low = hidden.to(self.precision)
        wide = functional.gelu(functional.linear(low, layer.widen_weight, layer.widen_bias))
        narrowed = functional.linear(wide, layer.narrow_weight, layer.narrow_bias)
        return self._normed(
            hidden + self._dropped(narrowed, generator, self._dropout),
            layer.narrow_norm_weight,
            layer.narrow_norm_bias,
        )

    def _dropped(
        self, values: Tensor, generator: torch.Generator | None, dropout: nn.Dropout
    ) -> Tensor:
        if generator is None or not dropout.p:
            return values
        return values * dropout_factors(tuple(values.shape), dropout.p, generator, values.dtype)

    def _normed(self, values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        epsilon = self._config.layer_norm_eps
        return functional.layer_norm(values, weight.shape, weight, bias, epsilon)


def _is_trained(part: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in part.parameters())


def _layer(layer: BertLayer) -> Layer:
    attention, output = layer.attention.self, layer.attention.output
    parts: tuple[nn.Linear, ...] = (attention.query, attention.key, attention.value)
    return Layer(
        project_weight=torch.cat([part.weight for part in parts]),
        project_bias=torch.cat([part.bias for part in parts]),
        attended_weight=output.dense.weight,
        attended_bias=output.dense.bias,
        attended_norm_weight=output.LayerNorm.weight,
        attended_norm_bias=output.LayerNorm.bias,
        widen_weight=layer.intermediate.dense.weight,
        widen_bias=layer.intermediate.dense.bias,
        narrow_weight=layer.output.dense.weight,
        narrow_bias=layer.output.dense.bias,
        narrow_norm_weight=layer.output.LayerNorm.weight,
        narrow_norm_bias=layer.output.LayerNorm.bias,
    )
