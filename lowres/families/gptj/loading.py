"""A trained classifier of any arm, from its folder."""

from pathlib import Path

from lowres.families.gptj import classify, prompt
from lowres.training.classifier import Classifier


def load(folder: Path) -> Classifier:
    """The classifier in a folder: one with a head, or one of a prompt."""
    return prompt.load(folder) if (folder / prompt.PROMPT_FILE).is_file() else classify.load(folder)
