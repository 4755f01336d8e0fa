"""Rules for templates that show numbers, measures and dates."""

import re
from collections.abc import Mapping

from lowres.corpus.templates.arguments import Arguments, Rule
from lowres.templates import Dates, Numbers

_PLAIN = re.compile(r"([-−–+]?)([0-9]+)(?:\.([0-9]+))?\Z")
_WHOLE = re.compile(r"([-−]?)([0-9]{4,})\Z")
_JOINERS = {
    "-": "-", "–": "–", "to": "–", "to(-)": "–", "x": "×", "by": "×", "*": "×", "+/-": "±", "±": "±", "and": ",",
    "or": "/",
}  # fmt: skip
_SUPERSCRIPTS = str.maketrans("0123456789-−+–", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁻⁺⁻")
_MONTHS = "january february march april may june july august september october november december".split()
_MIXED = re.compile(r"([0-9])\+([0-9]+)[/⁄]")


def _grouped(digits: str, policy: Numbers) -> str:
    """`digits` with the language's separator: MediaWiki groups from four digits on."""
    if not policy.thousands or len(digits) < 4:
        return digits
    head, groups = digits[:-3], [digits[-3:]]
    step = 2 if policy.grouping == "indian" else 3
    while head:
        head, groups = head[:-step], [head[-step:], *groups]
    return policy.thousands.join(groups)


def _local(text: str, policy: Numbers) -> str:
    """ASCII digits as the language's own."""
    return text.translate(str.maketrans("0123456789", policy.digits)) if policy.digits else text


def number(policy: Numbers) -> Rule:
    """`{{formatnum:1234.5}}` in the language's way; `{{formatnum:1.234,5|R}}` back to `1234.5`; `|NOSEP`: no groups."""

    def formatted(arguments: Arguments) -> str:
        text, how = arguments.get(1), arguments.get(2).upper()
        if how == "R":
            plain = text.replace(policy.thousands, "") if policy.thousands else text
            ascii_digits = str.maketrans(policy.digits, "0123456789") if policy.digits else {}
            return plain.replace(policy.decimal, ".").translate(ascii_digits)
        found = _PLAIN.match(text)
        if not found:
            return text
        sign, whole, rest = found.groups()
        whole = whole if how == "NOSEP" else _grouped(whole, policy)
        return _local(f"{sign}{whole}{policy.decimal + rest if rest else ''}", policy)

    return formatted


def convert(policy: Numbers, units: Mapping[str, str]) -> Rule:
    """`{{convert|5|km|mi}}` -> `5 km`; `{{convert|3|x|4|m}}` -> `3 × 4 m`. The conversion itself is left out.

    Editors write numbers in the language's own way, so only whole numbers without separators are grouped.
    """

    def amount(text: str) -> str:
        found = _WHOLE.match(text)
        return found[1] + _grouped(found[2], policy) if found else _MIXED.sub(r"\1 \2/", text)

    def converted(arguments: Arguments) -> str:
        parts = [part.strip() for part in arguments.positional] or [arguments.get(1), arguments.get(2)]
        words, rest = [amount(parts[0])], parts[1:]
        while len(rest) >= 2 and rest[0].lower() in _JOINERS:
            words += [_JOINERS[rest[0].lower()], amount(rest[1])]
            rest = rest[2:]
        unit = rest[0] if rest else ""
        text = " ".join(filter(None, words))
        for joiner in ("-", "–"):
            text = text.replace(f" {joiner} ", joiner)
        text = text.replace(" , ", ", ")
        return f"{text} {units.get(unit, unit)}".strip() if parts[0] else ""

    return converted


def value(arguments: Arguments) -> str:
    """`{{val|5.3|u=km}}` -> `5.3 km`; `{{val|6.2|e=18}}` -> `6.2×10¹⁸`; `{{val|5|0.2}}` -> `5±0.2`."""
    power = arguments.get("e")
    one, two = arguments.get(1), arguments.get(2)
    text = f"{one}±{two}" if two else one
    text += "×10" + power.translate(_SUPERSCRIPTS) if power else ""
    unit = arguments.get("u") or arguments.get("ul")
    return f"{arguments.get('p')}{text}{arguments.get('s')} {unit}".strip() if text else ""


def power(arguments: Arguments) -> str:
    """`{{e|-22}}` -> `×10⁻²²`."""
    return "×10" + arguments.get(1).translate(_SUPERSCRIPTS) if arguments.get(1) else ""


def fraction(arguments: Arguments) -> str:
    """`{{frac|1|2}}` -> `1/2`; `{{frac|3|1|2}}` -> `3 1/2`; `{{frac|2}}` -> `1/2`."""
    parts = arguments.parts()
    parts = ["1", *parts] if len(parts) == 1 else parts
    return " ".join(filter(None, [" ".join(parts[:-2]), "/".join(parts[-2:])]))


def date(dates: Dates, numbers: Numbers) -> Rule:
    """`{{birth date|1890|5|19}}` -> `19 tháng 5 năm 1890`; what is no year comes as it stands. Times are left out."""

    def written(arguments: Arguments) -> str:
        return _date(arguments, dates, numbers)[0]

    return written


def as_of(dates: Dates, numbers: Numbers) -> Rule:
    """`{{as of|2011}}` -> `As of 2011`; `lc=y` begins small, `alt=` is shown instead."""

    def written(arguments: Arguments) -> str:
        if arguments.get("alt"):
            return arguments.get("alt")
        text, year_alone = _date(arguments, dates, numbers)
        if not text:
            return ""
        shown = (dates.as_of_year if year_alone else dates.as_of).format(date=text)
        return shown[:1].lower() + shown[1:] if arguments.says("lc") else shown

    return written


def _date(arguments: Arguments, dates: Dates, numbers: Numbers) -> tuple[str, bool]:
    """The date that the first three arguments say, and whether it is a year alone."""
    year, month, day = (arguments.get(place) for place in (1, 2, 3))
    if not year.isdecimal():
        return year, False
    number = int(month) if month.isdecimal() else _month(month, dates)
    if not 1 <= number <= 12:
        return _local(year, numbers), True
    shown = dates.months[number - 1] if dates.months else number
    year_value = int(year) if "{year:" in dates.full else year
    if not (day.isdecimal() and 1 <= int(day) <= 31):
        return _local(dates.month.format(year=year_value, month=shown), numbers), False
    pattern = dates.day_first if dates.day_first and arguments.says("df") else dates.full
    return _local(pattern.format(year=year_value, month=shown, day=int(day)), numbers), False


def _month(name: str, dates: Dates) -> int:
    """The number of a month by its name in English or the language; 0 where it is none."""
    name = name.lower()
    names = [month.lower() for month in dates.months]
    if name in names:
        return names.index(name) + 1
    return next((place for place, month in enumerate(_MONTHS, 1) if len(name) > 2 and month.startswith(name)), 0)
