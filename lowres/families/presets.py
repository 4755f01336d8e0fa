"""Presets: settings that others published, as defaults of a method block: `preset = "multifit-paper"`.

A preset is a TOML file `families/FAMILY/presets/NAME.toml` of the package: a method block with its family. Its first
line is a comment that says what it is. A recipe is resolved before anything is hashed, so a preset and the same
settings written out are one.
"""

import difflib
from pathlib import Path
from typing import Any

from lowres.cards import read_toml
from lowres.errors import RecipeError

_FAMILIES = Path(__file__).parent


def presets() -> dict[str, Path]:
    """Every preset by name, with its file."""
    return {path.stem: path for path in sorted(_FAMILIES.glob("*/presets/*.toml"), key=lambda path: path.stem)}


def described(path: Path) -> str:
    """A preset in one line."""
    return path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")


def find_preset(name: Any) -> Path:
    """The file of a preset. Raises RecipeError with the nearest name."""
    known = presets()
    if isinstance(name, str) and name in known:
        return known[name]
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    raise RecipeError(f"preset is {name!r}; {hint}")


def with_preset(block: dict[str, Any]) -> dict[str, Any]:
    """A method block with its preset's settings under its own keys, and without `preset`.

    Where the block's `init` is a folder, the preset's `lm` does not count: the folder's own config.json decides.
    Raises RecipeError where there is no such preset, or it is of another family than the block.
    """
    own = {key: value for key, value in block.items() if key != "preset"}
    path = find_preset(block["preset"])
    defaults = read_toml(path)
    if own.get("family", defaults["family"]) != defaults["family"]:
        raise RecipeError(f"preset {path.stem!r} is of the family {defaults['family']!r}, not {own['family']!r}")
    if own.get("init", "pretrain") not in ("pretrain", "random"):
        defaults.pop("lm", None)
    return _under(defaults, own)


def _under(defaults: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """`own`, and of `defaults` what it does not say, table by table."""
    merged = dict(defaults)
    for key, value in own.items():
        below = defaults.get(key)
        merged[key] = _under(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged
