"""Training one segmenter by itself, from a treebank card."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from lowres.artifacts import Manifest
from lowres.cards import TreebankCard, read_card
from lowres.experiment.corpora import CorpusRequest, copy_artifact
from lowres.fetch import Finder
from lowres.recipe import settings_of
from lowres.text.spec import SegmenterSettings, trained_segmenter


def request_segmenter(name: str, overrides: Sequence[str], finder: Finder) -> CorpusRequest:
    """What `corpus train-segmenter CARD` asks for. overrides: `key=value` of SegmenterSettings.

    Raises RecipeError with every fault of the card and the settings, DataError where a file cannot be had.
    """
    card, path = read_card(name, TreebankCard)
    node = trained_segmenter(card, settings_of(SegmenterSettings, overrides))
    return CorpusRequest(card.name, node, {file.pinned: finder.find(card, path, file) for file in card.files}, path)


def copy_segmenter(folder: Path, out: Path, card: Path | None) -> None:
    """Copies a segmenter to `out`, with the card of its treebank, whose licence and statement it carries."""

    def add(partial: Path) -> None:
        if card is not None:
            shutil.copyfile(card, partial / "card.toml")

    copy_artifact(folder, out, add)


def told(folder: Path) -> list[str]:
    """How well a segmenter does, in lines, beside white space alone."""
    manifest = Manifest.read(folder)
    facts = manifest.facts
    lines = [
        f"{facts['steps']:,} steps in {manifest.cost.wall_s:,.0f} s, the best after {facts['best_step']:,}; "
        f"{sum((folder / name).stat().st_size for name in manifest.files) / 1e6:.1f} MB",
    ]
    for split, found in facts["scores"].items():
        for who, scores in (("segmenter", found), ("white space", facts["whitespace"][split])):
            shown = ", ".join(f"{what} {100 * scores[f'{what}_f1']:.2f}" for what in ("sentence", "token", "word"))
            lines.append(f"{split} F1, {who}: {shown}")
    return lines
