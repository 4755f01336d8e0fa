"""The method families, listed in one registry."""

from functools import cache
from importlib import import_module

from lowres.families.contract import Family

NAMES = ("baselines", "ulmfit", "gptj")


@cache
def family(name: str) -> Family:
    """The family called `name`, from its `spec.py`. Raises KeyError where there is none."""
    if name not in NAMES:
        raise KeyError(name)
    return import_module(f"lowres.families.{name}.spec").FAMILY
