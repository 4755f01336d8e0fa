"""MultiFiT's releases (n-waves/multifit-models, `NAME.tgz` unpacked): lm_best.pth, itos.pkl, spm.model, settings.

The paper's models are 1550 wide, later ones 1552; the tensors say which. Texts went through the Moses tokenizer of
their language, and begin with `xxbos xxfld 1`.
"""

import json
from pathlib import Path

from lowres.errors import DataError
from lowres.families.ulmfit.foreign.source import Source
from lowres.tokenizers.fastai import FastaiRules

LAYOUT = "MultiFiT"
_SETTINGS = ("pretraining.json", "finetuning.json", "info.json")


def fits(folder: Path) -> bool:
    """Whether the release's names are there."""
    return (folder / "lm_best.pth").is_file()


def sources(folder: Path) -> list[Source]:
    """The one model of a release; MultiFiT trained forward models alone."""
    for name in ("itos.pkl", "spm.model"):
        if not (folder / name).is_file():
            raise DataError(f"{folder / name}: no such file; a release has lm_best.pth, itos.pkl, spm.model")
    rules = FastaiRules(1, fields=True, moses=True, language=_language(folder))
    return [Source(LAYOUT, folder / "lm_best.pth", folder / "itos.pkl", folder / "spm.model", "forward", rules)]


def _language(folder: Path) -> str:
    """ISO 639-1, as the settings or the folder's name (`de_multifit_paper_version`) say it. Never guessed further."""
    for name in _SETTINGS:
        if (folder / name).is_file():
            settings = json.loads((folder / name).read_text(encoding="utf-8"))
            arch = settings.get("arch", settings)
            said = arch.get("lang") or Path(str(settings.get("dataset_path", ""))).name.partition("-")[0]
            if len(said) == 2:
                return said
    first = folder.resolve().name.partition("_")[0]
    if len(first) == 2:
        return first
    raise DataError(f"{folder}: its settings name no language; call the folder as the release, de_multifit_...")
