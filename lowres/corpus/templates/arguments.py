"""What stands in a template, and what a rule makes of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Arguments:
    """What stands in a template, already cleaned. positional: in order, without the name; title: of the page."""

    name: str
    positional: tuple[str, ...]
    named: Mapping[str, str]
    title: str = ""

    def get(self, key: int | str) -> str:
        """The positional argument (from 1), given by place or as `1=...`, or a named one; '' where it is missing."""
        if isinstance(key, int) and len(self.positional) >= key:
            return self.positional[key - 1].strip()
        return self.named.get(str(key), "").strip()

    def parts(self) -> list[str]:
        """The positional arguments that are not empty."""
        return [part.strip() for part in self.positional if part.strip()]

    def says(self, key: str) -> bool:
        """Whether `key=yes` or the like stands there."""
        return self.get(key).lower() in ("y", "yes", "on", "true", "1")


Rule = Callable[[Arguments], str]
