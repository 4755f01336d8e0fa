import unicodedata

from hypothesis import given, settings
from hypothesis import strategies as st

from lowres.artifacts import Document
from lowres.tasks.audit import duplicates_between, duplicates_within, shared_passages, words


def task(**texts):
    return [
        Document(f"{split}-{k}", split, "x", text) for split, found in texts.items() for k, text in enumerate(found)
    ]


def nothing(done):
    pass


def test_equal_texts_are_found_through_case_spaces_and_unicode_form():
    same = unicodedata.normalize("NFD", "Tôi  ĐI\nhọc")
    documents = task(train=["tôi đi học", "khác", "khác", ""], dev=["khác"], test=[same, "mới", "", "KHÁC"])
    assert duplicates_between(documents) == {
        "test_in_train": ["test-0", "test-3"],
        "dev_in_train": ["dev-0"],
        "test_in_dev": ["test-3"],
    }
    assert duplicates_within(documents) == {"train": 1, "dev": 0, "test": 0}


def test_a_passage_of_n_words_is_found_and_one_word_less_is_not():
    passage = "một hai ba bốn năm sáu bảy"
    documents = task(test=[f"Mở đầu: {passage.upper()}, hết.", "một hai ba bốn năm sáu tám", "ba bốn năm"])
    found = shared_passages(documents, ["chữ khác", f"x {passage.replace(' ', ' - ')} y"], 7, nothing)
    assert found.ids == ("test-0",)
    assert found.compared == {"test-0", "test-1"}


def test_a_passage_does_not_run_over_the_end_of_a_text():
    documents = task(test=["một hai ba bốn"])
    assert shared_passages(documents, ["một hai", "ba bốn"], 3, nothing).ids == ()
    assert shared_passages(documents, ["một hai ba", "bốn"], 3, nothing).ids == ("test-0",)


def test_no_text_of_that_length_compares_nothing():
    assert shared_passages(task(test=["một hai"]), ["một hai ba"], 3, nothing).compared == frozenset()


def test_progress_counts_the_bytes_of_the_corpus():
    seen = []
    shared_passages(task(test=["a b c"]), ["đ" * 3_000_000] * 3, 3, seen.append)
    assert len(seen) == 2 and seen == sorted(seen) and seen[-1] >= 18_000_000


@settings(max_examples=80)
@given(st.lists(st.text("ab ", max_size=12), max_size=6), st.lists(st.text("ab ", max_size=12), max_size=6))
def test_the_hashed_scan_agrees_with_a_plain_one(texts, corpus):
    def runs(text):
        found = words(text)
        return {tuple(found[k : k + 3]) for k in range(len(found) - 2)}

    there = set().union(*map(runs, corpus)) if corpus else set()
    wanted = tuple(f"test-{k}" for k, text in enumerate(texts) if runs(text) & there)
    assert shared_passages(task(test=texts), corpus, 3, nothing).ids == wanted
