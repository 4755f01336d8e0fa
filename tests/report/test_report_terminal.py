import io
from pathlib import Path

from rich.console import Console

from lowres.report.results import load_results
from lowres.report.summary import Summary, summarise
from lowres.report.terminal import print_terminal


def printed(summary: Summary, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, record=True, highlight=False)
    print_terminal(summary.results, console, summary)
    return console.export_text()


def test_it_fits_100_columns_with_every_number_in_one_piece(summary: Summary) -> None:
    text = printed(summary, 100)
    assert max(len(line.rstrip()) for line in text.splitlines() if "subset/seed" not in line) <= 100
    row = next(line for line in text.splitlines() if line.strip().startswith("gptj-scratch"))
    assert "4 of 6 cells" in row and row.count("[") == 2
    assert "…" not in text
    for expected in ("1.912", "GPT-J architecture, 5.87 M", "23 min 20 s", "2 of 70 cells did not end ok"):
        assert expected in text
    assert "subset/seed 1/0: nan: loss became <nan> at step 40; lower lm.lr" in text


def test_a_clean_run_says_nothing_of_failures(clean_folder: Path) -> None:
    text = printed(summarise(load_results(clean_folder)), 100)
    assert "did not end ok" not in text and "with 100 labels" in text.lower()


def test_narrow_it_leaves_columns_out_and_cuts_no_word(summary: Summary) -> None:
    text = printed(summary, 80)
    assert "Peak memory" not in text and "23 min 20 s" in text and "…" not in text
