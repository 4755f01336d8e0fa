"""README.md of a copied corpus: a dataset card, with the splits for `datasets` and the data statement for people."""

import json
import shutil
from pathlib import Path

from lowres.artifacts import CORPUS_SPLITS, Manifest
from lowres.cards import CorpusCard, read_card
from lowres.corpus.find import CARD_COPY, raw_files

_DATASETS_SPLITS = {"train": "train", "valid": "validation", "test": "test"}


def write_dataset_card(folder: Path, card: Path | None) -> None:
    """Writes README.md, and card.toml where the card is known, beside the tables and manifest in `folder`."""
    found = None
    if card is not None:
        found, _ = read_card(str(card), CorpusCard)
        shutil.copyfile(card, folder / CARD_COPY)
    manifest = Manifest.read(folder)
    parts = [_front_matter(manifest, found), _statement(manifest, found), _source(manifest, found), _contents(manifest)]
    (folder / "README.md").write_text("\n".join(parts), encoding="utf-8")


def _front_matter(manifest: Manifest, card: CorpusCard | None) -> str:
    """YAML; its values are JSON, which YAML includes. A split without documents is left out: `datasets` takes none."""
    documents = manifest.facts["documents"]
    lines = ["---", f"language: [{json.dumps(manifest.spec['language'])}]"]
    if card is not None:
        lines += ["license: other", f"license_name: {json.dumps(card.licence, ensure_ascii=False)}"]
    lines += ["configs:", "- config_name: default", "  data_files:"]
    lines += [
        f"  - {{split: {_DATASETS_SPLITS[split]}, path: {split}.parquet}}"
        for split in CORPUS_SPLITS
        if documents[split]
    ]
    return "\n".join([*lines, "---", ""])


def _statement(manifest: Manifest, card: CorpusCard | None) -> str:
    if card is None:
        return (
            f"# A corpus in {manifest.spec['language']}\n\n"
            "Built from files without a card: who wrote the texts, where they come from, and under which licence they\n"
            "may be used, is not known here. Say it before you pass it on.\n"
        )
    return f"# {card.name}\n\nLicence: {card.licence}\n\n## Data statement\n\n{card.statement.strip()}\n"


def _source(manifest: Manifest, card: CorpusCard | None) -> str:
    """Where the raw files come from, by date and checksum, and what made tables of them."""
    lines = ["## Source", ""]
    if card is not None:
        lines.append(f"- date: {card.date}")
    places = [file.url or file.derived or file.path for file in card.texts] if card is not None else []
    for number, sha256 in enumerate(raw_files(manifest)):
        place = places[number] if places else None
        lines.append(f"- file: {f'{place}, ' if place else ''}sha256 {sha256}")
    lines += [f"- lowres {manifest.lowres}, {manifest.stage} {manifest.version}, {manifest.created}"]
    return "\n".join([*lines, f"- id: {manifest.id}", "- settings, funnel, checksums of the tables: manifest.json", ""])


def _contents(manifest: Manifest) -> str:
    facts = manifest.facts
    lines = ["## Contents", "", "| split | documents | bytes |", "|---|---|---|"]
    lines += [f"| {split} | {facts['documents'][split]} | {facts['bytes'][split]} |" for split in CORPUS_SPLITS]
    left_out = [f"| {row['reason']} | {row['pages']} |" for row in facts["funnel"] if row["pages"]]
    if left_out:
        lines += ["", f"Left out of {facts['source_pages']} pages:", "", "| reason | pages |", "|---|---|", *left_out]
    return "\n".join([*lines, ""])
