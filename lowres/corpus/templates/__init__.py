"""Inline templates whose text belongs to the sentence: `{{lang|fr|bonjour}}` -> `bonjour`.

Everything else in double braces (infoboxes, citations, maintenance notes, navigation) is left out of the text. Which
template has which rule is data: `any.toml` for every language, `<ISO 639-3>.toml` for one, and the language's card.
"""

from lowres.corpus.templates.arguments import Arguments, Rule
from lowres.corpus.templates.tables import TEMPLATES, additions, rule_for, rules_for

__all__ = ["TEMPLATES", "Arguments", "Rule", "additions", "rule_for", "rules_for"]
