"""The settings of the classical baselines, their stages, and the family."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from lowres.artifacts import Node, Spec, Stage
from lowres.families.contract import Family, MethodBlock, PredictSpec, Shared
from lowres.fingerprint import added_later

Range = tuple[Annotated[int, Field(ge=1, le=8)], Annotated[int, Field(ge=1, le=8)]]


class Features(Spec):
    """Which n-grams count; lower-cased. Words are runs of letters, marks and digits of any script."""

    words: Range | None = (1, 2)
    """Shortest and longest word n-gram; None: no words."""
    characters: Range | None = (2, 5)
    """Shortest and longest character n-gram inside words with a space at each end; None: no characters."""
    min_count: int = Field(default=1, ge=1)
    """Texts of the subset that must hold an n-gram."""

    @field_validator("words", "characters")
    @classmethod
    def _range_rises(cls, value: Range | None) -> Range | None:
        if value is not None and value[0] > value[1]:
            raise ValueError(f"{list(value)} falls; write [shortest, longest]")
        return value


class BaselineSpec(Spec):
    """What `baselines.train_classifier` trains."""

    model: Literal["majority", "tfidf-lr", "nb-svm"]
    features: Features = Features()
    C: Annotated[float, Field(gt=0)] | Literal["dev"] | None = None
    """Inverse strength of the L2 penalty. "dev": the best of a small grid by macro-F1 on the subset's dev labels, every
    trial recorded. None: 10 for tfidf-lr, 1 for nb-svm, as published."""
    balance: float = added_later(0.0, neutral=0.0, ge=0, le=1)
    """Weight of a label in the loss: its count to the power -balance, as for ULMFiT's classifiers; where one label
    stands against the rest, of it and of the rest. 0: every text counts the same."""
    beta: float = Field(default=1.0, ge=0, le=1)
    """nb-svm: how much of the trained weights is used, the rest is their mean size. Wang and Manning 2012 take 0.25 for
    two equal classes; one label against the rest of many it costs dearly (dev macro-F1, 0.25 against 1: SIB-200
    Latgalian .41, .70; MasakhaNEWS Yoruba at 100 labels .48, .76; UIT-VSFC at 1000 .66, .67)."""


class BaselineMethod(BaselineSpec, MethodBlock):
    """`[methods.NAME]` with family = "baselines"."""

    family: Literal["baselines"]


TRAIN_CLASSIFIER = Stage(
    "baselines.train_classifier", 1, "baselines", "lowres.families.baselines.stages:train_classifier", BaselineSpec
)
PREDICT = Stage("baselines.predict", 1, "baselines", "lowres.families.baselines.stages:predict", PredictSpec)


def _language_model(method: BaselineMethod, shared: Shared) -> None:
    """Baselines have no language model."""


def _classifier(method: BaselineMethod, shared: Shared, task: Node, subset: Node, seed: int) -> Node:
    """The request for a trained baseline. All are deterministic, so every seed is the same request."""
    spec = BaselineSpec.model_validate(method.model_dump(exclude={"family"}))
    return Node(TRAIN_CLASSIFIER, spec, {"task": task, "subset": subset})


FAMILY = Family(
    name="baselines",
    method=BaselineMethod,
    language_model=_language_model,
    classifier=_classifier,
    predict=PREDICT,
    loader="lowres.families.baselines.stages:load",
    kinds=("classification", "multi-label"),
)
