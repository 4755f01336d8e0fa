import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lowres.cards import CardFile, CorpusCard
from lowres.errors import DataError
from lowres.fetch import Finder
from lowres.store import Store

BYTES = "một tệp nhỏ".encode()
SHA = hashlib.sha256(BYTES).hexdigest()


def card(**origin):
    file = CardFile(role="all", sha256=SHA, bytes=len(BYTES), **origin)
    return CorpusCard(
        card="corpus",
        name="vi/example",
        language="vie",
        script="Latn",
        licence="CC0",
        statement="Written for this test, in Vietnamese.",
        format="jsonl",
        date="2026",
        files=(file,),
    )


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "right").write_bytes(BYTES)
    (folder / "wrong").write_bytes(b"x" * len(BYTES))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=folder)) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def find(one, tmp_path, **options):
    return Finder(Store(tmp_path / "store"), **options).find(one, tmp_path / "card.toml", one.files[0])


def test_a_url_is_fetched_once_and_kept_in_the_store(tmp_path, server):
    path = find(card(url=f"{server}/right"), tmp_path)
    assert path.read_bytes() == BYTES
    assert find(card(url="http://127.0.0.1:1/gone"), tmp_path, offline=True) == path


def test_a_wrong_checksum_is_refused_and_nothing_is_kept(tmp_path, server):
    with pytest.raises(DataError, match="nothing was kept"):
        find(card(url=f"{server}/wrong"), tmp_path)
    assert not list((tmp_path / "store/files").iterdir())


def test_a_mirror_is_searched_by_checksum_whatever_the_name(tmp_path):
    mirror = tmp_path / "mirror/deep"
    mirror.mkdir(parents=True)
    (mirror / "same-size").write_bytes(b"y" * len(BYTES))
    (mirror / "other-name").write_bytes(BYTES)
    found = find(card(url="http://127.0.0.1:1/x"), tmp_path, mirrors=[tmp_path / "mirror"], offline=True)
    assert found == mirror / "other-name"


def test_offline_says_the_ways_to_get_it(tmp_path):
    with pytest.raises(DataError, match=r"--offline forbids .* --mirror"):
        find(card(url="http://127.0.0.1:1/x"), tmp_path, offline=True)


def test_a_derived_file_is_found_by_checksum_alone(tmp_path):
    with pytest.raises(DataError, match=f"cut by hand.*{SHA}.*--mirror"):
        find(card(derived="cut by hand"), tmp_path)


def test_a_file_beside_the_card_must_have_its_checksum(tmp_path):
    (tmp_path / "mine").write_bytes(b"changed")
    with pytest.raises(DataError, match="has sha256"):
        find(card(path="mine"), tmp_path)
    (tmp_path / "mine").write_bytes(BYTES)
    assert find(card(path="mine"), tmp_path) == tmp_path / "mine"


def test_a_mirror_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        Finder(Store(tmp_path), mirrors=[tmp_path / "nowhere"])


def test_a_file_without_any_origin_is_no_card():
    with pytest.raises(ValueError, match="derived"):
        card()
