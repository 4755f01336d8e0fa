"""How numbers and names are written in every table, curve and sentence."""

from lowres.experiment.records import LanguageModelRecord
from lowres.metrics.paired import Difference, Interval
from lowres.report.results import TrainSize

_HASH_SHOWN = 12


def score(value: float, signed: bool = False) -> str:
    """A score or difference between -1 and 1 in three digits: ".612", "1.000", "-.010"; signed: "+.012"."""
    text = f"{value:+.3f}" if signed else f"{value:.3f}"
    if float(text) == 0:
        return ".000"
    return text.replace("0.", ".", 1) if abs(value) < 0.9995 else text


def bounds(interval: Interval | Difference, signed: bool = False) -> str:
    """For example "[.590, .634]"."""
    return f"[{score(interval.low, signed)}, {score(interval.high, signed)}]"


def estimate(interval: Interval | Difference, signed: bool = False) -> str:
    """For example ".612 [.590, .634]"."""
    return f"{score(interval.mean, signed)} {bounds(interval, signed)}"


def p_value(value: float) -> str:
    """For example ".031", "< .001"."""
    return "< .001" if value < 0.001 else score(value)


def count(value: int | None) -> str:
    """For example "5,478"; "-" for None."""
    return "-" if value is None else f"{value:,}"


def large(value: float | None, unit: str = "") -> str:
    """Three digits and a decimal prefix: "6.02 M", "412 k", "1.2 GB" with unit "B"; "-" for None."""
    if value is None:
        return "-"
    prefixes = ("", "k", "M", "G" if unit else "B", "T")
    power = 0
    while power < len(prefixes) - 1 and abs(value) >= 999.5:
        value, power = value / 1000, power + 1
    return f"{value:.3g} {prefixes[power]}{unit}".rstrip()


def duration(seconds: float | None) -> str:
    """For example "0.4 s", "42 s", "3 min 20 s", "1 h 12 min"; "-" for None."""
    if seconds is None:
        return "-"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def percent(share: float | None) -> str:
    """Two significant digits: "0.31 %", "12 %", "0 %"; "-" for None."""
    if share is None:
        return "-"
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.0f} %"


def number(value: float | None, digits: int = 2) -> str:
    """Fixed decimals; "-" for None."""
    return "-" if value is None else f"{value:.{digits}f}"


def labels(train_size: TrainSize, labels_used: int | None) -> str:
    """For example "100 labels", "all 11,426 labels", "all labels"."""
    if train_size == "full":
        return f"all {labels_used:,} labels" if labels_used else "all labels"
    return f"{train_size:,} label{'' if train_size == 1 else 's'}"


def origin(model: LanguageModelRecord) -> str:
    """For example "from scratch", "random initialisation", or "pretrained weights 0123456789ab"."""
    words = model.origin.split()
    return " ".join(word[:_HASH_SHOWN] if len(word) == 64 else word for word in words)


def model_name(model: LanguageModelRecord) -> str:
    """For example "GPT-J architecture, 6.02 M, from scratch": an architecture's name never stands alone."""
    kind = model.architecture.split(",")[0].strip()
    return f"{kind} architecture, {large(model.parameters)}, {origin(model)}"
