"""What the arms of the ``search`` section share: names, a base model, and knobs with domains.

Fields stand in the order in which they are checked, as in `data_section`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, StrictStr, ValidationInfo, field_validator

from embedsweep.config.fields import ArmName, BaseModelName, Text
from embedsweep.config.knobs import Knob, Section
from embedsweep.config.refusal import Reading, refused, shown
from embedsweep.core.recipe import LOSS_KNOBS, Loss
from embedsweep.core.roles import Prompts
from embedsweep.core.space import Choice, Domain, Integers, Uniform

NEEDS_A_BATCH = {
    Loss.MULTIPLE_NEGATIVES_RANKING: "no negatives in a batch of 1",
    Loss.CACHED_MULTIPLE_NEGATIVES_RANKING: "no negatives in a batch of 1",
    Loss.BATCH_HARD_TRIPLET: "no negatives in a batch of 1",
    Loss.COSENT: "no second pair to rank against in a batch of 1",
}
"""Losses that compare the rows of a batch; alone, a row gives them nothing to learn from."""


class Arm(Section):
    """One way to make models. Every knob takes one value, a list, or {low, high[, log]}."""

    backend: str
    """What makes the models."""
    name: ArmName | None = None
    """Unique among the arms; the backend's name when left out."""

    @field_validator("name")
    @classmethod
    def _unique(cls, name: str | None, info: ValidationInfo[Reading]) -> str | None:
        taken: set[str] = info.context.arm_names
        if name == "baseline":
            raise refused('"baseline" names the untuned models', "choose another name")
        if name in taken:
            raise refused(f"another arm is named {shown(name)} already", "choose another name")
        if name is not None:
            taken.add(name)
        return name

    @field_validator("*")
    @classmethod
    def _listed_in_a_grid(cls, domain: object, info: ValidationInfo[Reading]) -> object:
        if info.context.grid and isinstance(domain, Uniform):
            seen = f"{domain.low:g} to {domain.high:g}"
            why = f"the range {seen} holds too many values for the grid sampler"
            listed = f"[{domain.low:g}, {domain.high:g}]"
            raise refused(why, f"list the values, such as {listed}, or choose another sampler")
        return domain

    @property
    def provider_name(self) -> str | None:
        """Who has the base model, as `core.recipe.Base` names it; None for this machine."""
        return None

    @property
    def key_variable(self) -> str | None:
        """The environment variable that holds the provider's key, where the arm names one."""
        return None

    @property
    def own_prompts(self) -> Prompts | None:
        """Prompts that replace those of the arm's base models; `None` to keep them."""
        return None

    def knobs(self) -> dict[str, Domain]:
        """Domain per recipe field, those left to the recipe's own defaults apart."""
        values = ((name, getattr(self, name)) for name in type(self).model_fields)
        found = {name: value for name, value in values if isinstance(value, Domain)}
        if self.provider_name is not None:
            found["provider"] = Choice((self.provider_name,))
        return found


class PromptsSection(Section):
    """Text to put before texts of a role; a role without one keeps the base model's prompt."""

    query: StrictStr | None = None
    """Prompt of queries, such as "query: "; "" for no prompt."""
    document: StrictStr | None = None
    """Prompt of documents, such as "passage: "; "" for no prompt."""
    plain: StrictStr | None = None
    """Prompt of texts that are neither, such as labelled texts; "" for no prompt."""


class TrainedArm(Arm):
    """An arm that trains on this machine."""

    base_model: Annotated[Choice, Knob(BaseModelName)]
    """Name of a sentence-transformers model, or a folder relative to this file."""
    revision: Text | None = None
    """Commit, branch or tag of the base model on the Hugging Face hub; its newest commit when left
    out."""
    prompts: PromptsSection | None = None
    """Prompts that replace those of the base model. To compare prompts, write one arm for each."""
    loss: Annotated[Choice, Knob(Loss)] = Field(
        default=[Loss.MULTIPLE_NEGATIVES_RANKING.value], validate_default=True
    )
    """What training minimises."""
    epochs: Annotated[Domain, Knob(int, "Epochs", ge=1, le=1000)] = Field(
        default={"low": 1, "high": 3}, validate_default=True
    )
    """Passes over the training data. Of a range or a list, one training goes through them all, the
    model after each from the lowest to the highest number is measured, and the best is kept."""
    learning_rate: Annotated[Domain, Knob(float, "LearningRate", gt=0, le=1)] = Field(
        default={"low": 1e-5, "high": 2e-4, "log": True}, validate_default=True
    )
    """The rate of AdamW, held after the warm-up."""
    batch_size: Annotated[Domain, Knob(int, "BatchSize", ge=1, le=65_536)] = Field(
        default=32, validate_default=True
    )
    """Rows per optimiser step; for pairs: pairs."""
    warmup: Annotated[Domain, Knob(float, "Warmup", ge=0, le=1)] | None = None
    """Share of the first epoch's steps over which the rate climbs from zero."""
    weight_decay: Annotated[Domain, Knob(float, "WeightDecay", ge=0, le=1)] | None = None
    """AdamW's weight decay."""
    scale: Annotated[Domain, Knob(float, "Scale", gt=0, le=1000)] | None = None
    """Inverse temperature of the ranking losses and CoSENT."""
    margin: Annotated[Domain, Knob(float, "Margin", gt=0, le=2)] | None = None
    """Cosine distance beyond which a negative costs nothing (triplet and contrastive losses)."""

    @field_validator("prompts")
    @classmethod
    def _some_prompt(cls, prompts: PromptsSection | None) -> PromptsSection | None:
        if prompts is not None and not prompts.model_dump(exclude_none=True):
            raise refused("it names no prompt", 'write prompts: {query: "query: "}, or remove it')
        return prompts

    @field_validator("revision")
    @classmethod
    def _of_one_hub_model(cls, revision: str | None, info: ValidationInfo[Reading]) -> str | None:
        models = info.data.get("base_model")
        if revision is None or models is None:
            return revision
        if len(models.options) > 1:
            why = f"it belongs to one model, and base_model lists {len(models.options)}"
            raise refused(why, "write an arm for each model, each with its own revision")
        if Path(str(models.options[0])).is_absolute():
            why = f"only models on the Hugging Face hub have revisions, and {models.options[0]} "
            raise refused(why + "is a folder", "remove revision, or name the model on the hub")
        return revision

    @field_validator("epochs")
    @classmethod
    def _not_drawn(cls, domain: Domain) -> Domain:
        if isinstance(domain, Integers) and domain.log:
            why = "no number of epochs is drawn: in one training every one of them is measured"
            raise refused(why, "remove log")
        return domain

    @field_validator("batch_size")
    @classmethod
    def _enough_to_compare(cls, domain: Domain, info: ValidationInfo[Reading]) -> Domain:
        lonely = [loss for loss in losses_chosen(info) if loss in NEEDS_A_BATCH]
        smallest = domain.low if not isinstance(domain, Choice) else min(map(int, domain.options))
        if smallest < 2 and lonely:
            why = f"{lonely[0]} finds {NEEDS_A_BATCH[lonely[0]]}, expected at least 2"
            raise refused(why, "raise batch_size to 2 or more, better 16 or more")
        return domain

    @property
    def own_prompts(self) -> Prompts | None:
        return Prompts(**self.prompts.model_dump()) if self.prompts else None

    def knobs(self) -> dict[str, Domain]:
        """As of every arm, and its epochs as `core.recipe` names them: the most, and a choice."""
        found = super().knobs()
        counts = [int(count) for count in self.epochs.values or ()]
        found["epochs"] = Choice((max(counts),))
        if min(counts) < max(counts):
            found["keep_from"] = Choice((min(counts),))
        if self.revision is not None:
            found["revision"] = Choice((self.revision,))
        return found

    @field_validator(*sorted(LOSS_KNOBS), check_fields=False)
    @classmethod
    def _owned(cls, domain: Domain | None, info: ValidationInfo[Reading]) -> Domain | None:
        name, losses = str(info.field_name), losses_chosen(info)
        if domain is not None and losses and not any(name in loss.knobs for loss in losses):
            owners = ", ".join(loss for loss in Loss if name in loss.knobs)
            why = f"none of the losses {', '.join(losses)} has this knob"
            raise refused(why, f"remove it, or add a loss that has it: {owners}")
        return domain


def losses_chosen(info: ValidationInfo[Reading]) -> tuple[Loss, ...]:
    """The losses chosen by the arm being read; none if they are faulty themselves."""
    choice = info.data.get("loss")
    return tuple(Loss(option) for option in choice.options) if choice else ()
