"""What is wrong with the content of a file, one line a fault: file and key first, the rule, what came."""

import difflib
from collections.abc import Iterator
from functools import cache
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from lowres.errors import RecipeError

Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], content: dict[str, Any], where: str) -> Model:
    """`content` as `model`. Raises RecipeError with every fault, `where` and the key first."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise RecipeError(list(faults(model, error, where))) from error


def faults(model: type[BaseModel], error: ValidationError, where: str, prefix: str = "") -> Iterator[str]:
    """One line a fault: file, key, rule, what came, and the key that was meant."""
    every = error.errors()
    for fault in every:
        if any(len(other["loc"]) > len(fault["loc"]) == _shared(other["loc"], fault["loc"]) for other in every):
            continue  # what is wrong inside is said; that the whole is wrong follows
        key = prefix + ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            known = _fields_at(model, fault["loc"][:-1])
            near = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(sorted(known))}"
            yield f"{where}: {key}: unknown key; {hint}"
        elif fault["type"] == "missing":
            yield f"{where}: {key} is missing"
        elif fault["type"] == "value_error":
            yield f"{where}: {key}: {fault['msg'].removeprefix('Value error, ')}"
        else:
            message = fault["msg"][0].lower() + fault["msg"][1:]
            for python, toml in _TOML_NAMES.items():
                message = message.replace(python, toml)
            yield f"{where}: {key} is {_short(fault['input'])}; {message}"


_TOML_NAMES = {"a valid tuple": "a list, [...]", "a valid dictionary": "a table", "a valid string": "text"}
"""pydantic's names of types -> TOML's."""


def _shared(one: tuple[int | str, ...], other: tuple[int | str, ...]) -> int:
    """How many leading parts two places have in common."""
    return next((k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


@cache
def _names(model: type[BaseModel]) -> tuple[str, ...]:
    return tuple(model.model_fields)


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> tuple[str, ...]:
    """The field names of the (possibly nested) model at `location`."""
    current: type[BaseModel] = model
    for part in location:
        info = current.model_fields.get(str(part))
        if info is None:
            continue
        inner = _model_in(info.annotation)
        if inner is None:
            return ()
        current = inner
    return _names(current)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The first pydantic model in a type such as `Tune | None` or `tuple[CardFile, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        if (found := _model_in(argument)) is not None:
            return found
    return None
