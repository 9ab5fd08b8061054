"""The body of a request for a job, as OpenAI has it. Unknown fields are ignored, as there."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints

from embedsweep.serving.schemas import Text

Suffix = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=64)]
Key = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=64)]
Entry = Annotated[str, StringConstraints(strict=True, max_length=512)]
Metadata = Annotated[dict[Key, Entry], Field(max_length=16)]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**31)]


class JobRequest(BaseModel):
    """The body of POST /v1/fine_tuning/jobs.

    Attributes:
        hyperparameters, method: What `hyperparameter_checks.asked` looks through.
        loss, scale, margin: The same; not in OpenAI's API.
    """

    model: Text
    training_file: Text
    validation_file: Text | None = None
    suffix: Suffix | None = None
    seed: Seed | None = None
    metadata: Metadata | None = None
    integrations: Any = None
    hyperparameters: Any = None
    method: Any = None
    loss: Any = None
    scale: Any = None
    margin: Any = None

    @property
    def training(self) -> dict[str, Any]:
        """All that is said of how to train, as it came."""
        names = ("hyperparameters", "method", "loss", "scale", "margin")
        return {name: getattr(self, name) for name in names}
