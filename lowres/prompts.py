"""Prompts of a task card: a text as the beginning of a sentence, and the words that end it for each label."""

from collections.abc import Mapping, Sequence

from pydantic import field_validator

from lowres.fingerprint import Spec


class Prompt(Spec):
    """`[[prompts]]` of a task card. Its words stand in the recipe's classifiers, never in the task."""

    name: str
    language: str
    """ISO 639-3, of the template and the words; the texts' own or another."""
    template: str
    """With {text} and behind it {label}, each once. What stands behind {label} is written in examples alone."""
    labels: dict[str, str | tuple[str, ...]]
    """Label -> what stands for it: a word, or several of which each counts alike."""

    @field_validator("template")
    @classmethod
    def _has_both_places(cls, value: str) -> str:
        if value.count("{text}") != 1 or value.count("{label}") != 1 or value.index("{label}") < value.index("{text}"):
            raise ValueError(f"{value!r} must hold {{text}} once and behind it {{label}} once")
        return value

    @field_validator("labels")
    @classmethod
    def _words_tell_labels_apart(cls, value: dict[str, str | tuple[str, ...]]) -> dict[str, str | tuple[str, ...]]:
        if len(value) < 2:
            raise ValueError("words for two labels or more are needed")
        words = [word for own in value.values() for word in as_words(own)]
        for word in words:
            if not word.strip():
                raise ValueError("a label has an empty word, or none")
            if words.count(word) > 1:
                raise ValueError(f"{word!r} stands twice; each word tells one label")
        return value

    @property
    def parts(self) -> tuple[str, str, str]:
        """What stands before the text, between text and label, and behind the label."""
        before, _, rest = self.template.partition("{text}")
        between, _, behind = rest.partition("{label}")
        return before, between, behind

    def words(self, label: str) -> tuple[str, ...]:
        """What stands for a label; the first is written in examples."""
        return as_words(self.labels[label])


def as_words(own: str | tuple[str, ...]) -> tuple[str, ...]:
    """One word or several, as several; an empty list is an empty word."""
    return (own,) if isinstance(own, str) else own or ("",)


def prompt_faults(prompts: Sequence[Prompt], names: Mapping[str, str]) -> list[str]:
    """What is wrong with the prompts of one card. names: the layout's; where there are some, they are the labels."""
    found, known = [], [prompt.name for prompt in prompts]
    found += [f"prompt {name!r} stands twice" for name in sorted({n for n in known if known.count(n) > 1})]
    for prompt in prompts:
        wanted = set(names.values()) or set(prompts[0].labels)
        if wrong := sorted(wanted ^ set(prompt.labels)):
            what = "has no word" if wrong[0] in wanted else "is not a label of the task"
            found.append(f"prompt {prompt.name!r}: {wrong[0]!r} {what}; the labels are {', '.join(sorted(wanted))}")
    return found
