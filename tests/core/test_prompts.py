import pytest

from lowres.cards import TaskCard, find_file, read_toml
from lowres.errors import RecipeError
from lowres.faults import validated
from lowres.prompts import Prompt

SENTIMENT = read_toml(find_file("corpora", "vi/uit_vsfc_sentiment"))


def changed(**changes):
    return {**SENTIMENT, "prompts": [{**SENTIMENT["prompts"][0], **changes}]}


def test_a_template_falls_into_three_parts_and_words_into_one_or_several():
    labels = {"a": "one", "b": ["two", "three"]}
    prompt = Prompt(name="p", language="eng", template="Read {text}: {label}!", labels=labels)
    assert prompt.parts == ("Read ", ": ", "!")
    assert prompt.words("a") == ("one",) and prompt.words("b") == ("two", "three")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"template": "{label}: {text}"}, "must hold {text} once and behind it {label}"),
        ({"template": "{text} {text} {label}"}, "must hold"),
        ({"language": "vi"}, "is not an ISO 639-3"),
        ({"labels": {"negative": "a", "neutral": "b"}}, "'positive' has no word"),
        ({"labels": {"negative": "a", "neutral": "b", "positive": "c", "mixed": "d"}}, "'mixed' is not a label"),
        ({"labels": {"negative": "a", "neutral": "b", "positive": "b"}}, "'b' stands twice"),
        ({"labels": {"negative": "a", "neutral": "b", "positive": []}}, "empty word"),
        ({"labls": {}}, "unknown key; did you mean labels"),
    ],
)
def test_what_is_wrong_with_a_prompt_is_said_with_its_card(changes, said):
    with pytest.raises(RecipeError) as raised:
        validated(TaskCard, changed(**changes), "here.toml")
    assert "here.toml: prompts" in str(raised.value) or "here.toml: " in str(raised.value)
    assert said in str(raised.value)


def test_two_prompts_of_one_name_are_refused():
    with pytest.raises(RecipeError, match="prompt 'cam-xuc' stands twice"):
        validated(TaskCard, {**SENTIMENT, "prompts": [SENTIMENT["prompts"][0]] * 2}, "here.toml")
