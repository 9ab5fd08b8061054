"""What a recipe minimises: from a batch's vectors to one number, for every backend that trains."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from embedsweep.backends import losses
from embedsweep.backends.rows import Batch, class_names
from embedsweep.core.dataset import TrainingSet
from embedsweep.core.ports import Embedder
from embedsweep.core.recipe import AdapterRecipe, LocalRecipe, Loss


class Objective:
    """A recipe's loss with its knobs.

    Args:
        recipe: Names the loss.
        data: What is trained on; only the softmax loss looks at it here.
        embedder: The model before training.
        device: Where the vectors will be.

    Attributes:
        parameters: What is trained beside the model: the softmax loss's class prototypes, or none.
    """

    def __init__(
        self,
        recipe: LocalRecipe | AdapterRecipe,
        data: TrainingSet,
        embedder: Embedder,
        device: torch.device,
    ) -> None:
        self._recipe = recipe
        self.parameters: tuple[nn.Parameter, ...] = ()
        if recipe.loss is Loss.SOFTMAX:
            self.parameters = (nn.Parameter(_class_means(embedder, data).to(device)),)

    def __call__(self, vectors: Tensor, batch: Batch) -> Tensor:
        """The loss, a scalar.

        Args:
            vectors: Unit vectors of the batch's texts, column after column, (texts, dimension).
            batch: The batch.
        """
        columns = torch.split(vectors, [len(column) for column in batch.columns])
        first, second = columns[0], columns[-1]
        targets = torch.tensor(batch.targets, device=vectors.device)
        knob = self._recipe.knob
        match self._recipe.loss:
            case Loss.MULTIPLE_NEGATIVES_RANKING | Loss.CACHED_MULTIPLE_NEGATIVES_RANKING:
                blocked = _blocked(batch, vectors)
                return losses.multiple_negatives_ranking(first, second, blocked, knob("scale"))
            case Loss.BATCH_HARD_TRIPLET:
                blocked = _blocked(batch, vectors)
                return losses.batch_hard_triplet(first, second, blocked, knob("margin"))
            case Loss.TRIPLET:
                return losses.triplet(first, columns[1], second, knob("margin"))
            case Loss.CONTRASTIVE:
                return losses.contrastive(first, second, targets, knob("margin"))
            case Loss.ONLINE_CONTRASTIVE:
                return losses.online_contrastive(first, second, targets, knob("margin"))
            case Loss.COSENT:
                return losses.cosent(first, second, targets, knob("scale"))
            case Loss.COSINE_SIMILARITY:
                return losses.cosine_similarity(first, second, targets)
            case Loss.SOFTMAX:
                (prototypes,) = self.parameters
                return losses.softmax(first, prototypes, targets.long(), knob("scale"))


def _blocked(batch: Batch, vectors: Tensor) -> Tensor:
    return torch.as_tensor(batch.blocked, device=vectors.device)


def _class_means(embedder: Embedder, data: TrainingSet) -> Tensor:
    """Where the prototypes begin: the mean vector of each class, in the order of `class_names`.

    From there a fine-tuning rate suffices; from random prototypes it would not move them.
    """
    vectors = torch.from_numpy(embedder.embed([row.text for row in data.texts]))
    place = {label: index for index, label in enumerate(class_names(data))}
    classes = torch.tensor([place[row.label] for row in data.texts])
    sums = torch.zeros(len(place), vectors.shape[1]).index_add_(0, classes, vectors)
    return functional.normalize(sums, dim=1)
