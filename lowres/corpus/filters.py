"""Which pages are no documents: disambiguation pages, short ones; and the count of all that was left out."""

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from lowres.corpus.dump import Page
from lowres.corpus.namespaces import MEDIAWIKI, TEMPLATE, Namespaces

REASONS = (
    "redirect",
    "other_namespace",
    "disambiguation",
    "too_long",
    "unreadable",
    "truncated",
    "empty",
    "duplicate",
    "too_short",
    "stub",
    "other_script",
    "other_language",
    "near_duplicate",
    "over_budget",
)
"""Why a page is left out, in the order in which it is asked."""

_EXAMPLES = 3


class Funnel:
    """Counts what was left out, by reason, with the ids of the first three pages of each."""

    def __init__(self) -> None:
        self._pages: dict[str, int] = {reason: 0 for reason in REASONS}
        self._examples: dict[str, list[int]] = {reason: [] for reason in REASONS}

    def leave_out(self, reason: str, page_ids: np.ndarray | Sequence[int]) -> None:
        """Counts pages under one of REASONS."""
        self._pages[reason] += len(page_ids)
        room = _EXAMPLES - len(self._examples[reason])
        self._examples[reason] += [int(page_id) for page_id in page_ids[:room]]

    def rows(self) -> list[dict[str, Any]]:
        """[{reason, pages, example_ids}] in the order of REASONS, zeros included."""
        return [
            {"reason": reason, "pages": self._pages[reason], "example_ids": self._examples[reason]}
            for reason in REASONS
        ]

    def largest(self) -> tuple[str, int]:
        """The reason that took most pages, and how many."""
        return max(self._pages.items(), key=lambda item: item[1])


# --- disambiguation pages --------------------------------------------------------------------------------------------

_EVERYWHERE = frozenset({"disambiguation", "disambig", "disamb", "dab", "disambiguation page"})
_DISAMBIGUATION: Mapping[str, str] = MappingProxyType(
    {
        "ara": "توضيح",
        "ben": "দ্ব্যর্থতা নিরসন, দ্ব্যর্থতা-নিরসন",
        "cat": "desambiguació",
        "ces": "rozcestník",
        "deu": "begriffsklärung",
        "eng": "hndis, geodis, human name disambiguation, place name disambiguation",
        "eus": "argipen",
        "fas": "ابهام‌زدایی",
        "fin": "täsmennyssivu",
        "fra": "homonymie",
        "heb": "פירושונים",
        "hin": "बहुविकल्पी, बहुविकल्पी शब्द",
        "hun": "egyért, egyértelmű lap",
        "ind": "disambiguasi",
        "ita": "disambigua",
        "jpn": "aimai, 曖昧さ回避",
        "kor": "동음이의",
        "lav": "nozīmju atdalīšana",
        "ltg": "zeimeibu škiršona",
        "mar": "निःसंदिग्धीकरण",
        "msa": "nyahkekaburan",
        "nld": "dp, doorverwijspagina",
        "pol": "ujednoznacznienie",
        "por": "desambiguação",
        "ron": "dezambiguizare",
        "rus": "неоднозначность",
        "spa": "desambiguación",
        "swe": "förgrening",
        "tha": "แก้กำกวม, แก้ความกำกวม",
        "tur": "anlam ayrımı",
        "ukr": "неоднозначність, багатозначність",
        "vie": "trang định hướng, định hướng",
        "zho": "消歧义, 消歧義",
    }
)
"""ISO 639-3 -> names of templates that mark a disambiguation page; what the dump itself tells is added to them."""

_TEMPLATE_USED = re.compile(r"\{\{[ \t\n]{0,3}+([^|{}<>\[\]#:\n]{1,80}+)")
_LINKED = re.compile(r"\[\[[ \t]{0,3}+([^|\[\]\n]{1,200}+)")
_SUFFIX = re.compile(r"\(([^()]{1,60}+)\)\Z")
_LONGEST = 20_000
"""Characters of wikitext above which a page is an article, whatever templates it uses."""


def _key(name: str) -> str:
    return " ".join(name.replace("_", " ").lower().split())


def told_by(page: Page, namespaces: Namespaces) -> list[tuple[str, str | None]]:
    """What a page of the template or MediaWiki namespace tells of disambiguation templates.

    Pairs of a template and what it redirects to; None: it is one that marks disambiguation pages.
    """
    if page.ns == TEMPLATE:
        name = _key(namespaces.bare_title(page.title, TEMPLATE))
        if page.redirect is not None:
            return [(name, _key(namespaces.bare_title(page.redirect, TEMPLATE)))]
        return [(name, None)] if "__DISAMBIG__" in page.text else []
    if page.ns == MEDIAWIKI and page.title.lower().endswith(":disambiguationspage"):
        targets = [target.strip() for target in _LINKED.findall(page.text)]
        bare = [(target, namespaces.bare_title(target, TEMPLATE)) for target in targets]
        return [(_key(name), None) for target, name in bare if name != target]
    return []


def title_suffix(title: str) -> str | None:
    """What stands in brackets at the end of a title: `định hướng` of `Huế (định hướng)`."""
    suffix = _SUFFIX.search(title)
    return _key(suffix.group(1)) if suffix else None


def templates_of(wikitext: str) -> list[str]:
    """The templates that a page uses, sorted; none of a page too long to be a disambiguation page."""
    if len(wikitext) > _LONGEST or "{{" not in wikitext:
        return []
    return sorted({_key(name) for name in _TEMPLATE_USED.findall(wikitext)})


class Disambiguation:
    """Finds disambiguation pages by the templates they use.

    Which templates those are is known for some languages, and told by the dump: `MediaWiki:Disambiguationspage` lists
    them, a template of the kind holds `__DISAMBIG__`, and redirects to one are names of it. A dump may give templates
    after the articles that use them, so `names` is asked at the end.
    """

    def __init__(self, language: str):
        self._known = set(_EVERYWHERE) | {_key(name) for name in _DISAMBIGUATION.get(language, "").split(",") if name}
        self._redirects: dict[str, str] = {}

    def learn(self, told: Iterable[tuple[str, str | None]]) -> None:
        """Takes what `told_by` found in a page."""
        for name, target in told:
            if target is None:
                self._known.add(name)
            else:
                self._redirects[name] = target

    def titled(self, suffix: str | None) -> bool:
        """Whether the suffix of a title (see `title_suffix`) says so itself."""
        return suffix in self._known

    def names(self) -> frozenset[str]:
        """The templates that mark such a page, as `templates_of` names them."""
        return frozenset(self._known | {name for name, target in self._redirects.items() if target in self._known})


# --- size -------------------------------------------------------------------------------------------------------------


def auto_min_bytes(sizes: np.ndarray | Sequence[int]) -> int:
    """The tenth percentile of the documents' sizes, held between 100 and 500 bytes."""
    ordered = np.sort(np.asarray(sizes))
    return min(500, max(100, int(ordered[len(ordered) // 10]))) if len(ordered) else 100
