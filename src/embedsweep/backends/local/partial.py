"""Fine-tuning a part of a model: its last layers alone, or low-rank updates of their matrices."""

from __future__ import annotations

from copy import deepcopy

from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from torch import Tensor, nn
from torch.nn.utils import parametrize

from embedsweep.core.recipe import LocalRecipe
from embedsweep.core.trial import TrialFailure

LORA_SCALE = 2.0
"""What an update counts: LoRA's alpha over its rank, as the sentence-transformers docs have it."""


class LowRankUpdate(nn.Module):
    """A frozen matrix plus the product of two thin ones; no change at first.

    Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models".

    Args:
        weight: The matrix, (outputs, inputs).
        rank: Of the update.
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        outputs, inputs = weight.shape
        self.down = nn.Parameter(weight.new_empty(rank, inputs))
        self.up = nn.Parameter(weight.new_zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.down, a=5**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + LORA_SCALE * self.up @ self.down


def restrict(model: SentenceTransformer, recipe: LocalRecipe) -> None:
    """Freeze all that the recipe does not train, and let it drop nothing.

    Modules behind the transformer are always trained.

    Raises:
        TrialFailure: The model has no layers, or fewer than are to be trained.
    """
    if recipe.train_layers is None and recipe.lora_rank is None:
        return
    network = model[0].model if isinstance(model[0], Transformer) else nn.Module()
    layers = _layers(network)
    if len(layers) < (recipe.train_layers or 1):
        why = f"train_layers is {recipe.train_layers or 'unset'} and the model has {len(layers)}"
        raise TrialFailure("too_few_layers", why)
    network.requires_grad_(requires_grad=False)
    chosen = layers[-recipe.train_layers :] if recipe.train_layers else layers
    trained = {id(module) for layer in chosen for module in layer.modules()}
    for module in network.modules():
        if isinstance(module, nn.Dropout) and id(module) not in trained:
            module.p = 0.0
    for layer in chosen:
        if recipe.lora_rank is None:
            layer.requires_grad_(requires_grad=True)
        else:
            _add_updates(layer, recipe.lora_rank)


def _layers(network: nn.Module) -> list[nn.Module]:
    """The transformer's layers: of its lists of modules, the one that holds most weights."""
    lists = [module for module in network.modules() if isinstance(module, nn.ModuleList)]
    return list(max(lists, key=_weights, default=[]))


def _weights(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _add_updates(layer: nn.Module, rank: int) -> None:
    linears = [module for module in layer.modules() if isinstance(module, nn.Linear)]
    for linear in linears:
        update = LowRankUpdate(linear.weight, rank)
        parametrize.register_parametrization(linear, "weight", update)


def merged(model: SentenceTransformer) -> SentenceTransformer:
    """The model with its updates made part of its matrices; itself where it has none."""
    if not any(map(parametrize.is_parametrized, model.modules())):
        return model
    copy = deepcopy(model)
    for module in list(copy.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear) and parametrize.is_parametrized(child):
                setattr(module, name, _plain(child))
    return copy


def _plain(linear: nn.Linear) -> nn.Linear:
    """As torch makes it, without the class that gives it its parametrization: a copy shares it."""
    outputs, inputs = linear.weight.shape
    # On no device: first values would be drawn, and training goes on with other numbers.
    plain = nn.Linear(inputs, outputs, bias=linear.bias is not None, device="meta")
    plain.weight = nn.Parameter(linear.weight.detach())
    plain.bias = linear.bias
    return plain
