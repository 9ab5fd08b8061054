"""The hosted backend: recipes to fine-tuning jobs, models to embeddings over the OpenAI API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import openai

from embedsweep.backends.hosted.clock import Clock
from embedsweep.backends.hosted.embedder import HostedEmbedder, HostedModel
from embedsweep.backends.hosted.identity import base_digest, provider_of, refusal
from embedsweep.backends.hosted.jobs import Following
from embedsweep.backends.hosted.meter import Meter
from embedsweep.backends.hosted.order import JobOrder
from embedsweep.backends.hosted.progress import Checkpoint
from embedsweep.backends.hosted.provider import PATIENCE, Provider
from embedsweep.backends.hosted.settings import HostedSettings
from embedsweep.backends.hosted.submission import Submission
from embedsweep.backends.hosted.training_file import training_file
from embedsweep.backends.model_file import MODEL_FILE, read_model_file, write_model_file
from embedsweep.core.dataset import TrainingSet
from embedsweep.core.errors import DataError, Refusal
from embedsweep.core.jobs import JobBook, JobRecord
from embedsweep.core.ports import Backend, Embedder, EpochEnd, TrainingListener
from embedsweep.core.recipe import Base, HostedRecipe, TunedRecipe
from embedsweep.core.roles import NO_PROMPTS, Prompts
from embedsweep.core.trial import TrialFailure

Connect = Callable[[str], openai.OpenAI]
"""Gives the client of a provider by its name; see `provider.open_client`."""

Keep = Callable[[Base, Callable[[], Embedder]], Embedder]
"""Given a provider's model and what opens it, something that gives the same vectors."""


def _as_it_is(base: Base, open_it: Callable[[], Embedder]) -> Embedder:
    del base
    return open_it()


class HostedBackend:
    """Fine-tunes and embeds at providers; fulfils `core.ports.Backend`.

    A model is a folder with a model file that says where to find it; its weights stay there.

    Args:
        connect: Gives the clients.
        book: Where jobs are known.
        meter: Counts what is billed and keeps it within the cap.
        settings: How to go about it.
        clock: Time.
        keep: Keeps vectors, so that no text is paid for twice with the same model.
    """

    def __init__(
        self,
        connect: Connect,
        book: JobBook,
        meter: Meter,
        settings: HostedSettings | None = None,
        clock: Clock | None = None,
        keep: Keep = _as_it_is,
    ) -> None:
        self._connect = connect
        self._book = book
        self._meter = meter
        self._settings = settings or HostedSettings()
        self._clock = clock or Clock()
        self._keep = keep
        self._providers: dict[str, Provider] = {}

    def base_digest(self, base: Base) -> str:
        return base_digest(base)

    def train(
        self,
        recipe: TunedRecipe,
        data: TrainingSet,
        folder: Path | None,
        listener: TrainingListener,
    ) -> None:
        """See `core.ports.Backend`; a job that the job book knows is not submitted again.

        Raises:
            TrialFailure: The provider refuses the job, the job failed or was cancelled, or its
                model gives no sound vectors.
            StoreError: The provider refuses the key or is out of order; the job, if there is one,
                is followed on when the same recipe is trained again.
            Refusal: The cap is reached, or it is unclear whether the provider has the job.
        """
        if not isinstance(recipe, HostedRecipe):
            raise TypeError(f"expected a hosted recipe, got {recipe.kind}")
        if (why := refusal(recipe)) is not None:
            raise Refusal(
                f"a fine-tuning job of {recipe.base_model}",
                f"provider {recipe.provider}",
                why,
                "take the arm out, or give it another provider",
            )
        order = JobOrder(recipe, training_file(data, recipe.form))
        provider = self._provider(recipe.provider)
        submission = Submission(
            provider, self._book, self._meter, self._settings.settling, listener.say
        )
        record = submission.record(order)
        listener.on_fact("job_key", record.key)
        listener.on_fact("job_id", record.job_id or "")
        listener.on_fact("file_id", record.file_id or "")
        following = Following(provider, self._book, self._meter, self._settings, listener)
        on_checkpoint = partial(self._tell_checkpoint, recipe, record, listener)
        record, losses = following.model(order, record, on_checkpoint)
        listener.on_fact("fine_tuned_model", record.model or "")
        listener.on_fact("trained_tokens", str(record.tokens))
        end = self._epoch_end(recipe, record, Checkpoint(recipe.epochs, record.model or "", losses))
        listener.on_epoch(end)
        if folder is not None:
            end.save(folder)

    def untuned(self, base: Base, folder: Path) -> None:
        self._save(self._untuned(base), provider_of(base), None, folder)

    def open(self, folder: Path) -> Embedder:
        opened = open_hosted(folder, self._connect, self._meter, self._clock)
        return self._kept(opened, read_model_file(folder)["provider"])

    def embedder(self, base: Base) -> Embedder:
        """A provider's model as it comes."""
        return self._kept(self._untuned(base), provider_of(base))

    def _untuned(self, base: Base) -> HostedEmbedder:
        return HostedEmbedder(self._provider(provider_of(base)), _untuned(base), self._meter)

    def _kept(self, embedder: HostedEmbedder, provider: str) -> Embedder:
        model = embedder.model
        base = Base(model.name, provider, model.dimensions, model.prompts or None)
        return self._keep(base, lambda: embedder)

    def _provider(self, name: str) -> Provider:
        if name not in self._providers:
            client = self._connect(name)
            self._providers[name] = Provider(name, client, self._clock, self._settings.patience)
        return self._providers[name]

    def _tell_checkpoint(
        self,
        recipe: HostedRecipe,
        record: JobRecord,
        listener: TrainingListener,
        checkpoint: Checkpoint,
    ) -> None:
        end = self._epoch_end(recipe, record, checkpoint)
        if (why := _out_of_reach(end.embedder)) is not None:
            listener.say(f"epoch {end.epoch} cannot be measured: {why}")
        else:
            listener.on_epoch(end)

    def _epoch_end(
        self, recipe: HostedRecipe, record: JobRecord, checkpoint: Checkpoint
    ) -> EpochEnd:
        model = HostedModel(checkpoint.model, base_model=recipe.base_model)
        embedder = HostedEmbedder(self._provider(recipe.provider), model, self._meter)
        save = partial(self._save, embedder, recipe.provider, record.job_id)
        kept = self._kept(embedder, recipe.provider)
        return EpochEnd(checkpoint.epoch, checkpoint.losses, kept, save)

    def _save(
        self, embedder: HostedEmbedder, provider: str, job_id: str | None, folder: Path
    ) -> None:
        model = embedder.model
        values = {
            "kind": HostedRecipe.kind,
            "provider": provider,
            "model": model.name,
            "dimensions": model.dimensions,
            "dimension": embedder.dimension,
            "base_model": model.base_model or model.name,
            "job_id": job_id,
            "key_variable": self._settings.key_variables.get(provider),
            **({"prompts": model.prompts.as_dict()} if model.prompts else {}),
        }
        write_model_file(folder, values)


def open_hosted(
    folder: Path, connect: Connect, meter: Meter | None = None, clock: Clock | None = None
) -> HostedEmbedder:
    """The model in a folder; for what embeds and never trains, such as serving.

    Raises:
        DataError: The folder holds none.
    """
    values = read_model_file(folder)
    if values["kind"] != HostedRecipe.kind:
        raise DataError(
            "model file",
            str(folder / MODEL_FILE),
            f"it is of a model of kind {values['kind']!r}, expected {HostedRecipe.kind!r}",
            "open the folder with the backend of its kind",
        )
    provider = Provider(values["provider"], connect(values["provider"]), clock)
    return HostedEmbedder(provider, _model(values), meter)


def open_hosted_base(base: Base, connect: Connect, patience: float = PATIENCE) -> HostedEmbedder:
    """A provider's model as it comes; for what embeds and never trains, such as serving."""
    name = provider_of(base)
    return HostedEmbedder(Provider(name, connect(name), patience=patience), _untuned(base))


def _untuned(base: Base) -> HostedModel:
    return HostedModel(base.model, base.dimensions, prompts=base.prompts or NO_PROMPTS)


def _model(values: Mapping[str, Any]) -> HostedModel:
    dimensions, dimension = values["dimensions"], values["dimension"]
    base = str(values["base_model"])
    name = str(values["model"])
    return HostedModel(
        name,
        dimensions if isinstance(dimensions, int) else None,
        dimension if isinstance(dimension, int) else None,
        None if base == name else base,
        Prompts(**values.get("prompts", {})),
    )


def _out_of_reach(embedder: Embedder) -> str | None:
    """Why the model gives no vectors, as of a checkpoint that the provider lists and serves not."""
    try:
        return None if embedder.dimension else "its vectors are empty"
    except TrialFailure as failure:
        return failure.message


_: type[Backend] = HostedBackend
