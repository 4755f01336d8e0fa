"""lowres: does a recurrent LM or a transformer transfer better for your language, and how sure are we?

    import lowres
    recipe = lowres.load_recipe("quickstart")
    results = lowres.run(recipe)
    results.frame()

Names are imported when they are first used: `import lowres` brings no framework.
"""

from typing import Any

__version__ = "0.1.0"

_FACE = {
    "load_recipe": "lowres.recipe",
    "build_recipe": "lowres.recipe",
    "plan": "lowres.api",
    "run": "lowres.api",
    "open_store": "lowres.api",
    "load_classifier": "lowres.api",
    "load_generator": "lowres.api",
    "load_results": "lowres.report.results",
}

__all__ = ["__version__", *_FACE]


def __getattr__(name: str) -> Any:
    if name in _FACE:
        from importlib import import_module

        return getattr(import_module(_FACE[name]), name)
    raise AttributeError(f"module 'lowres' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
