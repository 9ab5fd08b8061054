"""The losses equal sentence-transformers' own, and masks do what they are for."""

from __future__ import annotations

import math

import pytest
import torch
from sentence_transformers.sentence_transformer import losses as reference
from torch import Tensor, nn
from torch.nn.functional import normalize

from embedsweep.backends import losses

ROWS, DIMENSION = 12, 16


class Given(nn.Module):
    """A model whose embeddings are the features themselves."""

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"sentence_embedding": features["vectors"]}


def vectors(seed: int, rows: int = ROWS) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(rows, DIMENSION, generator=generator), dim=1)


def features(*columns: Tensor) -> list[dict[str, Tensor]]:
    return [{"vectors": column} for column in columns]


def nothing_blocked(rows: int = ROWS) -> Tensor:
    return torch.zeros(rows, rows, dtype=torch.bool)


FIRST, SECOND, THIRD = vectors(1), vectors(2), vectors(3)
MARKS = torch.tensor([1.0, 0.0] * (ROWS // 2))
SCORES = torch.linspace(0, 1, ROWS)


def test_multiple_negatives_ranking_equals_the_reference() -> None:
    ours = losses.multiple_negatives_ranking(FIRST, SECOND, nothing_blocked(), 20.0)
    theirs = reference.MultipleNegativesRankingLoss(Given(), scale=20.0)(
        features(FIRST, SECOND), None
    )
    assert float(ours) == pytest.approx(float(theirs), abs=1e-5)


def test_contrastive_equals_the_reference() -> None:
    ours = losses.contrastive(FIRST, SECOND, MARKS, 0.5)
    theirs = reference.ContrastiveLoss(Given(), margin=0.5)(features(FIRST, SECOND), MARKS)
    assert float(ours) == pytest.approx(float(theirs), abs=1e-6)


def test_online_contrastive_equals_the_reference() -> None:
    near = normalize(FIRST + 0.8 * SECOND, dim=1)
    ours = losses.online_contrastive(FIRST, near, MARKS, 0.5)
    theirs = reference.OnlineContrastiveLoss(Given(), margin=0.5)(features(FIRST, near), MARKS)
    assert float(ours) > 0
    assert float(ours) == pytest.approx(float(theirs), abs=1e-5)


def test_cosent_equals_the_reference() -> None:
    ours = losses.cosent(FIRST, SECOND, SCORES, 20.0)
    theirs = reference.CoSENTLoss(Given(), scale=20.0)(features(FIRST, SECOND), SCORES)
    assert float(ours) == pytest.approx(float(theirs), abs=1e-4)


def test_cosine_similarity_equals_the_reference() -> None:
    ours = losses.cosine_similarity(FIRST, SECOND, SCORES)
    theirs = reference.CosineSimilarityLoss(Given())(features(FIRST, SECOND), SCORES)
    assert float(ours) == pytest.approx(float(theirs), abs=1e-6)


def test_triplet_equals_the_reference() -> None:
    ours = losses.triplet(FIRST, SECOND, THIRD, 0.3)
    theirs = reference.TripletLoss(
        Given(),
        distance_metric=reference.TripletDistanceMetric.COSINE,
        triplet_margin=0.3,
    )(features(FIRST, SECOND, THIRD), None)
    assert float(ours) == pytest.approx(float(theirs), abs=1e-6)


def test_a_blocked_candidate_is_no_negative() -> None:
    twin = FIRST.clone()
    candidates = SECOND.clone()
    candidates[1] = twin[0]  # the second row's positive belongs to the first row's anchor too
    open_mask = nothing_blocked()
    mask = nothing_blocked()
    mask[0, 1] = True
    free = losses.multiple_negatives_ranking(FIRST, candidates, open_mask, 20.0)
    masked = losses.multiple_negatives_ranking(FIRST, candidates, mask, 20.0)
    assert float(masked) < float(free)
    hard_free = losses.batch_hard_triplet(FIRST, candidates, open_mask, 0.3)
    hard_masked = losses.batch_hard_triplet(FIRST, candidates, mask, 0.3)
    assert float(hard_masked) < float(hard_free)


def test_batch_hard_triplet_takes_the_hardest_negative() -> None:
    anchors = torch.eye(3)
    candidates = normalize(torch.tensor([[1.0, 0.5, 0], [0, 1.0, 0], [0.5, 0, 1.0]]), dim=1)
    scores = anchors @ candidates.T
    by_hand = [
        max(
            0.0,
            0.3 - float(scores[i, i]) + max(float(scores[i, j]) for j in range(3) if j != i),
        )
        for i in range(3)
    ]
    ours = losses.batch_hard_triplet(anchors, candidates, nothing_blocked(3), 0.3)
    assert float(ours) == pytest.approx(sum(by_hand) / 3, abs=1e-6)


def test_a_row_without_negatives_costs_nothing_and_has_no_gradient() -> None:
    anchors = FIRST.clone().requires_grad_()
    mask = ~torch.eye(ROWS, dtype=torch.bool)
    loss = losses.batch_hard_triplet(anchors, SECOND, mask, 0.3)
    loss.backward()
    assert float(loss.detach()) == 0
    assert anchors.grad is not None
    assert float(anchors.grad.abs().sum()) == 0


def test_softmax_is_the_cross_entropy_of_the_cosines() -> None:
    prototypes = vectors(4, rows=3) * 7
    classes = torch.arange(ROWS) % 3
    ours = losses.softmax(FIRST, prototypes, classes, 20.0)
    cosines = (FIRST @ normalize(prototypes, dim=1).T * 20).tolist()
    by_hand = [
        math.log(sum(math.exp(value) for value in row)) - row[int(label)]
        for row, label in zip(cosines, classes, strict=True)
    ]
    assert float(ours) == pytest.approx(sum(by_hand) / ROWS, abs=1e-4)
