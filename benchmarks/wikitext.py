"""How fast and how well lowres turns a Wikipedia dump into text, beside the peers that are installed.

    python benchmarks/wikitext.py DUMP [DUMP...] [--rounds 3] [--workers 1 2] [--repeat-to 2GB] [--peers PYTHON]
                                  [--json OUT]

Every measurement is a process of its own. wikiextractor (AGPL) is run as the command it is; mwparserfromhell (MIT) and
gensim (LGPL) by `--extract`, under the Python that `--peers` names, which needs no lowres. None is a dependency of
lowres: who wants the comparison installs them. A peer that is missing is named and left out. Needs Linux.
"""

import argparse
import html
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wikitext_dumps import Pages, wikitexts, write_articles, write_planted, write_repeated
from wikitext_process import Measured, lowres_role, measure
from wikitext_quality import (
    Reference,
    Texts,
    bars_of_markup,
    bars_of_text,
    kept_share,
    left_over,
    list_ngrams,
    recalls,
)
from wikitext_report import targets, told

PEERS = ("wikiextractor", "gensim", "mwparserfromhell")


# --- the tools --------------------------------------------------------------------------------------------------------


def extract(tool: str, source: Path, out: Path) -> None:
    """In a process of its own: each page of an export through one tool's cleaner, to JSON lines."""
    from xml.etree import ElementTree

    cleaner = _cleaner(tool, source)
    with out.open("w", encoding="utf-8") as file:
        events = ElementTree.iterparse(source, events=("start", "end"))
        _, root = next(events)
        for event, element in events:
            if event == "end" and element.tag.endswith("}page"):
                space = element.tag[: -len("page")]
                page_id, title = element.findtext(f"{space}id"), element.findtext(f"{space}title") or ""
                text = cleaner(element.findtext(f"{space}revision/{space}text") or "", title)
                file.write(json.dumps({"id": page_id, "text": text}, ensure_ascii=False) + "\n")
                root.clear()


def _cleaner(tool: str, source: Path) -> Callable[[str, str], str]:
    """(wikitext, title) -> text."""
    if tool == "lowres":
        from lowres.corpus.dump import read_head
        from lowres.corpus.namespaces import Namespaces
        from lowres.corpus.templates import rules_for
        from lowres.corpus.wikitext import clean
        from lowres.text.normalise import Normalisation, normalise

        namespaces, policy = Namespaces(read_head(source).names), Normalisation()
        rules = rules_for(language_of(source))
        return lambda text, title: normalise(clean(text, namespaces, title, rules), policy)
    if tool == "gensim":
        from gensim.corpora.wikicorpus import filter_wiki

        return lambda text, title: filter_wiki(text)
    if tool == "mwparserfromhell":
        import mwparserfromhell

        return lambda text, title: str(mwparserfromhell.parse(text).strip_code())
    raise SystemExit(f"--extract {tool}: no such tool")


def extraction(tool: str, python: str, source: Path, out: Path) -> list[str]:
    """The command that turns the articles at `source` to JSON lines below `out`."""
    if tool == "wikiextractor":
        options = ["--json", "--no-templates", "--processes", "1", "-q", "-b", "1000M", "-o", str(out)]
        return [python, "-m", "wikiextractor.WikiExtractor", *options, str(source)]
    out.mkdir(parents=True, exist_ok=True)
    return [python, __file__, "--extract", tool, str(source), str(out / "pages.jsonl")]


def texts_at(folder: Path) -> Texts:
    """What a tool wrote, of its JSON lines. Entities that wikiextractor escapes for HTML are read as what they show."""
    texts = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        for line in path.read_text(encoding="utf-8").splitlines():
            page = json.loads(line)
            texts[str(page["id"])] = html.unescape(page["text"]) if path.name.startswith("wiki_") else page["text"]
    return texts


def versions(python: str) -> dict[str, str]:
    """The peers that a Python has -> their versions."""
    code = (
        "import importlib.metadata as m, json\n"
        f"print(json.dumps({{d.name.lower(): d.version for d in m.distributions() if d.name.lower() in {PEERS!r}}}))"
    )
    found = json.loads(subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout)
    return {peer: found[peer] for peer in PEERS if peer in found}


# --- measuring --------------------------------------------------------------------------------------------------------


def measure_build(dump: Path, language: str, workers: int, folder: Path, into: Measured) -> None:
    """One whole `lowres corpus build` from an empty store, dump to Parquet, near-duplicates kept."""
    store = folder / "store"
    command = [sys.executable, "-m", "lowres", "corpus", "build", str(dump), "--language", language]
    command += [
        "--set",
        "filters.near_duplicates=false",
        "--workers",
        str(workers),
        "--store",
        str(store),
        "--out",
        str(folder / "corpus"),
        "--offline",
    ]
    into.samples.append(measure(command, workers, lowres_role))
    (manifest,) = store.rglob("manifest.json")
    cost = json.loads(manifest.read_text())["cost"]
    into.stages.append((cost["wall_s"], cost["cpu_s"]))
    shutil.rmtree(store)
    shutil.rmtree(folder / "corpus")


def measure_speed(dump: Path, options: argparse.Namespace, peers: Sequence[str], folder: Path) -> dict[str, Measured]:
    """Rounds of every command in turn, so that a busy minute of the machine falls on all. Texts stay in `folder`."""
    articles = folder / "articles.xml"
    write_articles(Pages(dump), articles)
    nothing = folder / "nothing.xml"
    write_articles(Pages(dump), nothing, empty=True)
    sources = {"": (dump, Pages(dump).xml_bytes())}
    if options.repeat_to:
        repeated = folder / "repeated.xml.bz2"
        sources["repeated "] = (repeated, write_repeated(Pages(dump), options.repeat_to, repeated, altered=True))
    found: dict[str, Measured] = {}
    for number in range(options.rounds):
        for label, (path, size) in sources.items():
            for workers in options.workers:
                into = found.setdefault(f"{label}build {workers}", Measured(size))
                measure_build(path, options.language or language_of(dump), workers, folder, into)
        for tool in ("lowres", *peers):
            python = sys.executable if tool == "lowres" else options.peers
            into = found.setdefault(tool, Measured(articles.stat().st_size))
            start = measure(extraction(tool, python, nothing, folder / "started" / tool), 1)
            out = folder / "texts" / tool
            shutil.rmtree(out, ignore_errors=True)
            into.samples.append(sample := measure(extraction(tool, python, articles, out), 1))
            into.stages.append((sample.wall_s - start.wall_s, sample.cpu_s - start.cpu_s))
        print(f"{dump.name}: round {number + 1} of {options.rounds}", file=sys.stderr)
    return found


def language_of(dump: Path) -> str:
    """ISO 639-3 of the dump's own xml:lang."""
    from lowres.corpus.dump import read_head
    from lowres.wikipedias import find_edition

    edition = find_edition(read_head(dump).language)
    if edition is None:
        raise SystemExit(f"{dump.name}: its language is not known; add --language and its ISO 639-3 code")
    return edition.iso


def measure_quality(dump: Path, options: argparse.Namespace, peers: Sequence[str], folder: Path) -> dict[str, Any]:
    """Tool -> left-over, recall and inline share, and how much text it keeps."""
    tools = ("lowres", *peers)
    outputs = {tool: texts_at(folder / "texts" / tool) for tool in tools}
    planted_at = folder / "planted.xml"
    planted = write_planted(Pages(dump), planted_at)
    bars = {page: bars_of_text(text) for page, text in wikitexts(Pages(dump))}
    lists = {page: list_ngrams(text) for page, text in wikitexts(Pages(dump))}
    three, two = min(3, len(peers)), min(2, len(peers))
    references = {
        f"{three} others keep": Reference(three, three),
        f"{three} others keep, {two} in lists": Reference(three, two),
        f"{two} others keep anywhere": Reference(two, two),
    }
    kept = recalls(outputs, references, lists)
    quality: dict[str, Any] = {}
    for tool in tools:
        out = folder / "planted" / tool
        measure(extraction(tool, sys.executable if tool == "lowres" else options.peers, planted_at, out), 1)
        quality[tool] = {
            "pages": len(outputs[tool]),
            "characters": sum(map(len, outputs[tool].values())),
            "left_over": left_over(outputs[tool]),
            "bars_of_markup": bars_of_markup(outputs[tool], bars),
            "recall": kept[tool],
            "inline": kept_share(texts_at(out), planted),
        }
    return quality


# --- the command ------------------------------------------------------------------------------------------------------


def machine(found: dict[str, str]) -> str:
    """One paragraph: processor, cores, versions."""
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    peers = ", ".join(f"{peer} {found[peer]}" if peer in found else f"{peer} not installed" for peer in PEERS)
    short = "" if len(found) >= 3 else f" With {len(found)} peers, recall asks for what all of them keep."
    cores = len(os.sched_getaffinity(0))
    python = sys.version.split()[0]
    return f"{model[1] if model else 'unknown processor'}, {cores} cores; Python {python}; {peers}.{short}\n"


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([MG])B", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; e.g. 2GB or 200MB")
    return int(float(match[1]) * {"M": 1e6, "G": 1e9}[match[2]])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dumps", nargs="+", type=Path, metavar="DUMP")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quality-only", action="store_true", help="measure no speed")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument(
        "--repeat-to", type=_size, metavar="SIZE", help="also build from the dump repeated to this size"
    )
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON", help="the Python that has the peers")
    parser.add_argument("--language", help="ISO 639-3, where a dump's own xml:lang does not say")
    parser.add_argument("--json", type=Path, metavar="OUT", help="every sample and share")
    return parser.parse_args()


def main() -> None:
    """The command; and, with --extract, the process in which a tool runs."""
    if sys.argv[1:2] == ["--extract"]:
        extract(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
        return
    options = _options()
    found = versions(options.peers)
    record: dict[str, Any] = {"machine": machine(found), "dumps": {}}
    print(record["machine"])
    for dump in options.dumps:
        with tempfile.TemporaryDirectory(prefix="wikitext-") as name:
            if options.quality_only:
                options.rounds, options.workers, options.repeat_to = 1, [], None
            speed = measure_speed(dump, options, tuple(found), Path(name))
            quality = measure_quality(dump, options, tuple(found), Path(name))
            speed = {} if options.quality_only else speed
        print(told(dump.name, speed, quality), flush=True)
        samples = {key: asdict(each) for key, each in speed.items()}
        record["dumps"][dump.name] = {"speed": samples, "quality": quality, "targets": targets(speed, quality)}
    if options.json:
        options.json.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
