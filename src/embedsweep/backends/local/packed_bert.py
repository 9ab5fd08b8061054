"""BERT without padding: the texts of a micro-batch lie behind one another as one long matrix.

Every product and every layer norm works on real tokens alone; only attention knows where a text
ends. The parameters stay those of the sentence-transformers model, in float32: what is trained,
saved and served is that model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import cast

import numpy as np
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
from embedsweep.backends.local.tokens import IdArray
from embedsweep.backends.local.word_gradient import WordGradient

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
    """What a forward pass multiplies with."""

    embedding: Embedding
    layers: tuple[Layer, ...]

    def __iter__(self) -> Iterator[Tensor]:
        parts: tuple[Embedding | Layer, ...] = (self.embedding, *self.layers)
        for part in parts:
            for field in fields(part):
                yield getattr(part, field.name)

    def map(self, change: Callable[[Tensor], Tensor]) -> Weights:
        """Every tensor changed."""
        changed = iter([change(tensor) for tensor in self])
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
        model: One that `fits`. Whether values are dropped follows its training mode.
        precision: What matrices are multiplied in. What goes from layer to layer stays float32:
            sums over many tokens, such as the gradients of layer norms, need it.
    """

    def __init__(self, model: SentenceTransformer, precision: torch.dtype) -> None:
        self._network = cast("BertModel", model[0].model)
        self._config = self._network.config
        # The first layer's stand for all: the library makes them from one configuration.
        self._dropout: nn.Dropout = self._network.embeddings.dropout
        self._attention_dropout: nn.Dropout = self._layers()[0].attention.self.dropout
        self._first_token = model[1].pooling_mode == "cls"
        self.precision = precision
        self.word_gradient = WordGradient(self._network.embeddings.word_embeddings.weight)
        self._first_position = 0
        if not isinstance(self._network, BertModel):
            # RoBERTa counts its positions from behind the padding's.
            self._first_position = self._config.pad_token_id + 1

    def weights(self, tokens: Tensor | None = None) -> Weights:
        """The model's weights, in float32, with gradients flowing back to its parameters.

        Args:
            tokens: Ids of the tokens whose rows are wanted, in the order in which texts number
                them; None for the whole table. Gradients of the rows are for `word_gradient`.
        """
        below = self._network.embeddings
        table = below.word_embeddings.weight.detach()
        embedding = Embedding(
            words=table if tokens is None else functional.embedding(tokens, table),
            positions=below.position_embeddings.weight,
            kind=below.token_type_embeddings.weight[0],
            norm_weight=below.LayerNorm.weight,
            norm_bias=below.LayerNorm.bias,
        )
        return Weights(embedding, tuple(map(_layer, self._layers())))

    def _layers(self) -> list[BertLayer]:
        return cast("list[BertLayer]", self._network.encoder.layer)

    def bytes_kept(self, length: int) -> int:
        """What a backward pass needs of one token of a text of so many tokens, about."""
        width, wide = self._config.hidden_size, self._config.intermediate_size
        attention = 2 * self._config.num_attention_heads * length
        numbers = 18 * width + 2 * wide + attention
        return int(numbers * self._config.num_hidden_layers * self.precision.itemsize)

    def pooled(
        self, weights: Weights, texts: Sequence[IdArray], generator: torch.Generator | None = None
    ) -> Tensor:
        """Pooled vectors of a micro-batch, (texts, width), float32.

        Args:
            weights: Already `lowered`.
            texts: Token numbers, the shortest text first.
            generator: Whom drops are drawn from; None for no drops.
        """
        lengths = [len(text) for text in texts]
        packing = Packing(lengths, self._config.num_attention_heads, self.precision)
        hidden = self._embedded(weights.embedding, texts, packing)
        hidden = self._dropped(hidden, generator)
        for layer in weights.layers:
            hidden = self._forward(layer, hidden, packing, generator)
        if self._first_token:
            return hidden[packing.starts]
        sums = hidden.new_zeros(len(texts), hidden.shape[1])
        return sums.index_add(0, packing.text_of, hidden) / packing.lengths.unsqueeze(1)

    def _embedded(self, weights: Embedding, texts: Sequence[IdArray], packing: Packing) -> Tensor:
        places = packing.positions + self._first_position
        summed = (
            functional.embedding(torch.from_numpy(np.concatenate(texts)), weights.words)
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
            hidden + self._dropped(attended, generator),
            layer.attended_norm_weight,
            layer.attended_norm_bias,
        )
        low = hidden.to(self.precision)
        wide = functional.gelu(functional.linear(low, layer.widen_weight, layer.widen_bias))
        narrowed = functional.linear(wide, layer.narrow_weight, layer.narrow_bias)
        return self._normed(
            hidden + self._dropped(narrowed, generator),
            layer.narrow_norm_weight,
            layer.narrow_norm_bias,
        )

    def _dropped(self, values: Tensor, generator: torch.Generator | None) -> Tensor:
        share = self._dropout.p
        if generator is None or not share:
            return values
        return values * dropout_factors(tuple(values.shape), share, generator, values.dtype)

    def _normed(self, values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        epsilon = self._config.layer_norm_eps
        return functional.layer_norm(values, weight.shape, weight, bias, epsilon)


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
