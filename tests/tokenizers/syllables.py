"""Documents of Vietnamese syllables, and a corpus of them as build_corpus leaves it."""

import pyarrow as pa
import pyarrow.parquet as pq

ONSETS = ["b", "c", "ch", "đ", "g", "h", "kh", "l", "m", "n", "ng", "nh", "ph", "s", "t", "th", "tr", "v", "x", "d"]
RIMES = [
    "a",
    "à",
    "ả",
    "an",
    "anh",
    "ao",
    "ay",
    "ê",
    "ế",
    "iên",
    "inh",
    "ô",
    "ông",
    "ốt",
    "ươn",
    "ường",
    "uy",
    "ữ",
    "ấy",
]
SYLLABLES = [onset + rime for onset in ONSETS for rime in RIMES]


def document(n):
    """Two lines of Vietnamese syllables, with capitals; no two documents are equal."""
    words = [SYLLABLES[(n * n + k * 101) % len(SYLLABLES)] for k in range(60)]
    return f"{words[0].capitalize()} {' '.join(words[1:30])}.\n{words[30].upper()} {' '.join(words[31:])}, số {n}."


def write_corpus(folder, texts):
    """A corpus as build_corpus leaves it."""
    folder.mkdir()
    for split, found in texts.items():
        columns = {
            "id": pa.array(range(7, 7 + len(found)), pa.int64()),
            "title": pa.array([""] * len(found), pa.string()),
            "text": pa.array(found, pa.string()),
            "bytes": pa.array([len(text.encode()) for text in found], pa.int64()),
            "split": pa.array([split] * len(found), pa.string()),
        }
        pq.write_table(pa.table(columns), folder / f"{split}.parquet")
    return folder
