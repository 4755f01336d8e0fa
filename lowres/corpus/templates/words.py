"""Rules for templates that show words: arguments as they stand, quotations, transcriptions, names."""

import re

from lowres.corpus.templates.arguments import Arguments, Rule

_FIELD = re.compile(r"\{([^{}]+)\}")
_LANGUAGE_CODE = re.compile(r"[a-z]{2,3}(?:-[a-z]{2,10})*\Z")
_TRANSCRIBED = re.compile(r"[\[/(⟨].*[\])/⟩]\Z", re.S)
_ACCIDENTALS = {"flat": "♭", "b": "♭", "sharp": "♯", "#": "♯", "natural": "♮", "doubleflat": "𝄫", "doublesharp": "𝄪"}
# Words that IPAc-en takes for labels, and what it takes for signs.
_IPA_LABELS = frozenset("en us uk lang pron local also or and ipa eng gb ca au nz ireland wales".split())
_IPA_SIGNS = {"_": " ", "'": "ˈ", ",": "ˌ", ".": ".", "-": "-"}


def first(arguments: Arguments) -> str:
    """`{{nowrap|5 km}}` -> `5 km`."""
    return arguments.get(1)


def second(arguments: Arguments) -> str:
    """`{{lang|fr|bonjour}}` -> `bonjour`."""
    return arguments.get(2)


def last(arguments: Arguments) -> str:
    """`{{transl|ar|ALA|Allāh}}` -> `Allāh`."""
    parts = arguments.parts()
    return arguments.get(len(parts)) if len(parts) == len(arguments.positional) > 0 else parts[-1] if parts else ""


def shows(pattern: str) -> Rule:
    """A rule that fills a pattern: `{1}` and `{name}` are arguments. Nothing where all of them are empty."""
    fields = [int(field) if field.isdigit() else field for field in _FIELD.findall(pattern)]

    def shown(arguments: Arguments) -> str:
        values = [arguments.get(field) for field in fields]
        if fields and not any(values):
            return ""
        given = iter(values)
        return _FIELD.sub(lambda _: next(given), pattern)

    return shown


def joined(arguments: Arguments) -> str:
    """`{{chem|H|2|O}}` -> `H2O`."""
    return "".join(arguments.parts())


def hyphenated(arguments: Arguments) -> str:
    """`{{respell|LIN|uks}}` -> `LIN-uks`; an underscore between two words is a space."""
    return "-".join(arguments.parts()).replace("-_-", " ").replace("_", " ")


def lists(arguments: Arguments) -> str:
    """Each argument on a line of its own."""
    return "\n" + "\n".join(part.strip() for part in arguments.positional) + "\n" if arguments.parts() else ""


def quotation(arguments: Arguments) -> str:
    """The quoted text as a paragraph, without its source."""
    text = arguments.get(1) or arguments.get("text") or arguments.get("quote")
    return f"\n{text}\n" if text else ""


def ipa(arguments: Arguments) -> str:
    """`{{IPA-fr|bonʒuʁ}}` -> `[bonʒuʁ]`; `{{IPA|/k/}}` -> `/k/`; `{{IPA|fr|bonʒuʁ}}` -> `[bonʒuʁ]`."""
    text = arguments.get(1)
    if arguments.name == "ipa" and len(arguments.parts()) > 1 and _LANGUAGE_CODE.match(text):
        text = arguments.get(2)
    elif arguments.name == "ipa":
        return text
    return text if not text or _TRANSCRIBED.match(text) else f"[{text}]"


def ipa_parts(arguments: Arguments) -> str:
    """`{{IPAc-en|ˈ|l|iː|n|ʊ|k|s}}` -> `/ˈliːnʊks/`."""
    parts = [part.strip() or " " for part in arguments.positional]
    while parts and parts[0].lower() in _IPA_LABELS:
        parts.pop(0)
    text = "".join(_IPA_SIGNS.get(part, part) for part in parts).strip()
    return f"/{text}/" if text else ""


def nihongo(arguments: Arguments) -> str:
    """`{{nihongo|Tokyo|東京|Tōkyō}}` -> `Tokyo (東京, Tōkyō)`."""
    more = ", ".join(filter(None, [arguments.get(2), arguments.get(3)]))
    return f"{arguments.get(1)} ({more})" if more and arguments.get(1) else arguments.get(1) or more


def han(arguments: Arguments) -> str:
    """`{{zh|t=...|s=...|p=...}}`: the characters, without transcriptions."""
    return next((arguments.get(key) for key in ("t", "c", "s") if arguments.get(key)), arguments.get(1))


def interlanguage(arguments: Arguments) -> str:
    """`{{ill|Local name|de|Name there}}` -> `Local name`, or its label `lt=`; old form: `{{ill|de|There|Local}}`."""
    label = arguments.get("lt") or arguments.get("display")
    if label:
        return label
    one, two = arguments.get(1), arguments.get(2)
    if two and _LANGUAGE_CODE.match(one) and not _LANGUAGE_CODE.match(two):
        return arguments.get(4) or arguments.get(3) or two
    return one


def music(arguments: Arguments) -> str:
    """`{{music|flat}}` -> `♭`; what is no accidental stays in words."""
    return _ACCIDENTALS.get(arguments.get(1).lower(), arguments.get(1))


def harvard(arguments: Arguments) -> str:
    """`{{harvtxt|Boolos|Jeffrey|1974}}` -> `Boolos & Jeffrey (1974)`."""
    *names, year = arguments.parts() or [""]
    listed = " & ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
    return f"{listed} ({year})" if listed else year


def title(arguments: Arguments) -> str:
    """`{{PAGENAME}}`."""
    return arguments.title


def drop(arguments: Arguments) -> str:
    """Nothing."""
    return ""
