"""The losses, as functions of unit vectors: one definition for every backend that trains.

Every function takes rows of unit length, so a dot product is a cosine similarity and ``1 - cosine``
a distance, and returns a scalar: the mean over what counts.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def candidate_scores(anchors: Tensor, candidates: Tensor, blocked: Tensor) -> Tensor:
    """Cosine of every anchor with every candidate; blocked candidates are no negatives.

    Args:
        anchors: (rows, dimension).
        candidates: (candidates, dimension); candidate i is the positive of row i.
        blocked: Boolean (rows, candidates), True where a candidate may also belong to the anchor.
            The row's own positive is never blocked.

    Returns:
        (rows, candidates), minus infinity where blocked.
    """
    return (anchors @ candidates.T).masked_fill(blocked, float("-inf"))


def multiple_negatives_ranking(
    anchors: Tensor, candidates: Tensor, blocked: Tensor, scale: float
) -> Tensor:
    """Cross-entropy of picking the row's positive among the batch's candidates.

    Henderson et al. 2017, "Efficient Natural Language Response Suggestion for Smart Reply".
    """
    scores = candidate_scores(anchors, candidates, blocked) * scale
    target = torch.arange(len(anchors), device=anchors.device)
    return functional.cross_entropy(scores, target)


def batch_hard_triplet(
    anchors: Tensor, candidates: Tensor, blocked: Tensor, margin: float
) -> Tensor:
    """Hinge on the row's hardest negative in the batch.

    Faghri et al. 2018, "VSE++: Improving Visual-Semantic Embeddings with Hard Negatives". Rows
    all of whose other candidates are blocked have no negative and cost nothing.
    """
    scores = candidate_scores(anchors, candidates, blocked)
    positive = scores.diagonal()
    own = torch.eye(*scores.shape, dtype=torch.bool, device=scores.device)
    hardest = scores.masked_fill(own, float("-inf")).amax(dim=1)
    return functional.relu(hardest - positive + margin).mean()


def triplet(anchors: Tensor, positives: Tensor, negatives: Tensor, margin: float) -> Tensor:
    """Hinge on given triplets, in cosine distance. Schroff et al. 2015, "FaceNet"."""
    to_positive = (anchors * positives).sum(dim=1)
    to_negative = (anchors * negatives).sum(dim=1)
    return functional.relu(to_negative - to_positive + margin).mean()


def contrastive(first: Tensor, second: Tensor, similar: Tensor, margin: float) -> Tensor:
    """Pull similar pairs together, push the others beyond the margin.

    Hadsell et al. 2006, "Dimensionality Reduction by Learning an Invariant Mapping".

    Args:
        first: (rows, dimension).
        second: (rows, dimension).
        similar: (rows,) of 1.0 and 0.0.
        margin: Cosine distance beyond which a dissimilar pair costs nothing.
    """
    distance = 1 - (first * second).sum(dim=1)
    pull = similar * distance.square()
    push = (1 - similar) * functional.relu(margin - distance).square()
    return 0.5 * (pull + push).mean()


def online_contrastive(first: Tensor, second: Tensor, similar: Tensor, margin: float) -> Tensor:
    """Contrastive over the batch's hard pairs alone, summed.

    Hard are the similar pairs farther apart than the nearest dissimilar pair, and the dissimilar
    pairs nearer than the farthest similar pair. A batch with one kind alone keeps the pairs
    beyond the mean distance, as sentence-transformers does.
    """
    distance = 1 - (first * second).sum(dim=1)
    alike, unlike = distance[similar > 0.5], distance[similar <= 0.5]
    nearest_unlike = unlike.min() if len(unlike) > 1 else alike.mean()
    farthest_alike = alike.max() if len(alike) > 1 else unlike.mean()
    pull = alike[alike > nearest_unlike].square().sum()
    hard_unlike = unlike[unlike < farthest_alike]
    return pull + functional.relu(margin - hard_unlike).square().sum()


def cosent(first: Tensor, second: Tensor, scores: Tensor, scale: float) -> Tensor:
    """Rank pairs as their scores do: log(1 + sum of exp(scale x wrongly ordered differences)).

    Su 2022, "CoSENT: Consistent Sentence Embedding via Similarity Ranking".
    """
    cosine = (first * second).sum(dim=1) * scale
    difference = cosine[:, None] - cosine[None, :]
    ordered_below = scores[:, None] < scores[None, :]
    wrong = difference.masked_fill(~ordered_below, float("-inf")).flatten()
    return torch.logsumexp(torch.cat([torch.zeros_like(wrong[:1]), wrong]), dim=0)


def cosine_similarity(first: Tensor, second: Tensor, scores: Tensor) -> Tensor:
    """Squared error between cosine and score; scores lie between 0 and 1."""
    return functional.mse_loss((first * second).sum(dim=1), scores)


def softmax(texts: Tensor, prototypes: Tensor, classes: Tensor, scale: float) -> Tensor:
    """Cross-entropy over the cosines to one learned prototype per class.

    Wang et al. 2017, "NormFace: L2 Hypersphere Embedding for Face Verification".

    Args:
        texts: (rows, dimension).
        prototypes: (classes, dimension), of any length.
        classes: (rows,) class index.
        scale: Inverse temperature.
    """
    scores = texts @ functional.normalize(prototypes, dim=1).T * scale
    return functional.cross_entropy(scores, classes)
