"""A trained classifier of any arm, from its folder."""

from pathlib import Path

from lowres.devices import Devices
from lowres.families.gptj import class_mesh, classify, prompt
from lowres.training.classifier import Classifier


def load(folder: Path, devices: Devices | None = None) -> Classifier:
    """The classifier in a folder: one with a head, or one of a prompt. devices: one with a head on the mesh of all."""
    if (folder / prompt.PROMPT_FILE).is_file():
        return prompt.load(folder)
    return classify.load(folder) if devices is None else class_mesh.load(folder, devices)
