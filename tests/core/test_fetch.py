import hashlib
import http.server
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from lowres.cards import CardFile, CorpusCard
from lowres.download import Patience
from lowres.errors import DataError, Stopped
from lowres.fetch import Finder
from lowres.store import Store

BYTES = "một tệp nhỏ".encode() * 4096
SHA = hashlib.sha256(BYTES).hexdigest()
SHA1 = hashlib.sha1(BYTES).hexdigest()
AT_ONCE = Patience(attempts=4, delay_s=0.0)
TAG = '"v1"'


def card(sha256: str | None = SHA, sha1: str | None = None, **origin):
    file = CardFile(role="all", sha256=sha256, sha1=sha1, bytes=len(BYTES), **origin)
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


@dataclass
class Site:
    """A server that behaves like the dumps site, but for what its plan says of the requests to come, in order."""

    content: bytes = BYTES
    tag: str | None = TAG
    plan: list[str] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    url: str = ""
    hold: threading.Event = field(default_factory=threading.Event)

    @property
    def ranges(self) -> list[str | None]:
        return [headers.get("Range") for headers in self.asked]


class _Handler(http.server.BaseHTTPRequestHandler):
    site: Site

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        site = self.site
        site.asked.append(dict(self.headers))
        move = site.plan.pop(0) if site.plan else "serve"
        if move == "wait":
            site.hold.wait(10)
        if move.isdigit():
            return self._failed(int(move))
        if move.startswith("busy"):
            return self._failed(503, ("Retry-After", move.split(":")[1]))
        self._serve(move)

    def _serve(self, move):
        site = self.site
        begin = re.match(r"bytes=(\d+)-$", self.headers.get("Range", ""))
        start = int(begin[1]) if begin and move != "no ranges" else 0
        if start and self.headers.get("If-Range") not in (None, site.tag):
            start = 0
        body, total = site.content[start:], len(site.content)
        if start >= total > 0:
            return self._failed(416, ("Content-Range", f"bytes */{total}"))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if site.tag:
            self.send_header("ETag", site.tag)
        if move == "longer":
            self.send_header("Content-Length", str(len(body) + 7))
        elif move == "shorter":
            self.send_header("Content-Length", str(len(body) - 7))
        elif move != "no length":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if move == "cut" else body)

    def _failed(self, status, *headers):
        self.send_response(status)
        for header in headers:
            self.send_header(*header)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    one = Site()
    handler = type("Handler", (_Handler,), {"site": one})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        one.url = f"http://127.0.0.1:{server.server_port}/file"
        yield one
        server.shutdown()
        thread.join()


def find(one, tmp_path, **options):
    finder = Finder(Store(tmp_path / "store"), **{"patience": AT_ONCE, **options})
    return finder.find(one, tmp_path / "card.toml", one.files[0])


def stored(tmp_path):
    return {path.suffix: path.stat().st_size for path in (tmp_path / "store/files").iterdir()}


# --- where a file is found -------------------------------------------------------------------------------------------


def test_a_url_is_fetched_once_and_kept_in_the_store(tmp_path, site):
    path = find(card(url=site.url), tmp_path)
    assert path.read_bytes() == BYTES
    assert find(card(url="http://127.0.0.1:1/gone"), tmp_path, offline=True) == path
    assert stored(tmp_path) == {"": len(BYTES)}
    assert site.asked[0]["User-Agent"].startswith("lowres/")


def test_a_file_with_a_sha1_alone_is_stored_by_its_sha256_and_found_again(tmp_path, site):
    one = card(sha256=None, sha1=SHA1, url=site.url)
    path = find(one, tmp_path)
    assert path.name == SHA
    assert find(one, tmp_path, offline=True) == path
    assert len(site.asked) == 1


def test_a_mirror_is_searched_by_checksum_whatever_the_name(tmp_path):
    mirror = tmp_path / "mirror/deep"
    mirror.mkdir(parents=True)
    (mirror / "same-size").write_bytes(b"y" * len(BYTES))
    (mirror / "other-name").write_bytes(BYTES)
    for checksum in ({"sha256": SHA}, {"sha256": None, "sha1": SHA1}):
        one = card(**checksum, url="http://127.0.0.1:1/x")
        assert find(one, tmp_path, mirrors=[tmp_path / "mirror"], offline=True) == mirror / "other-name"


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


def test_a_file_without_any_origin_or_checksum_is_no_card():
    with pytest.raises(ValueError, match="derived"):
        card()
    with pytest.raises(ValueError, match="sha1 that its source publishes"):
        card(sha256=None, url="http://127.0.0.1:1/x")


# --- servers that fail -----------------------------------------------------------------------------------------------


def test_a_connection_that_is_cut_goes_on_where_it_broke_off(tmp_path, site):
    site.plan = ["cut", "cut", "503"]
    progress = []
    path = find(card(url=site.url), tmp_path, on_progress=lambda *said: progress.append(said))
    assert path.read_bytes() == BYTES
    half = len(BYTES) // 2
    quarter = (len(BYTES) - half) // 2
    assert site.ranges == [None, f"bytes={half}-", f"bytes={half + quarter}-", f"bytes={half + quarter}-"]
    assert [headers.get("If-Range") for headers in site.asked] == [None, TAG, TAG, TAG]
    done = [bytes_done for _, bytes_done, _ in progress]
    assert done == sorted(done) and done[-1] == len(BYTES)
    assert {said[::2] for said in progress} == {("vi/example (all)", len(BYTES))}


def test_the_next_run_goes_on_where_the_last_one_gave_up(tmp_path, site):
    site.plan = ["cut", *["500"] * 3]
    with pytest.raises(DataError, match=r"vi/example \(all\): .*500 .*4 attempts.* bytes are kept, run it again"):
        find(card(url=site.url), tmp_path)
    assert stored(tmp_path)[".partial"] == len(BYTES) // 2
    assert find(card(url=site.url), tmp_path).read_bytes() == BYTES
    assert site.ranges[-1] == f"bytes={len(BYTES) // 2}-"
    assert stored(tmp_path) == {"": len(BYTES)}


def test_a_server_that_ignores_ranges_starts_over(tmp_path, site):
    site.plan = ["cut", "no ranges"]
    assert find(card(url=site.url), tmp_path).read_bytes() == BYTES
    assert site.ranges == [None, f"bytes={len(BYTES) // 2}-"]


def test_a_file_that_changed_meanwhile_is_sent_whole(tmp_path, site):
    site.content, site.tag, site.plan = b"x" * len(BYTES), '"v0"', ["cut", *["500"] * 3]
    with pytest.raises(DataError):
        find(card(url=site.url), tmp_path)
    site.content, site.tag = BYTES, TAG
    assert find(card(url=site.url), tmp_path).read_bytes() == BYTES
    assert len(site.asked) == 5


@pytest.mark.parametrize("tag", [None, 'W/"v0"'])
def test_pieces_of_two_versions_are_fetched_again_from_the_start(tmp_path, site, tag):
    site.content, site.tag, site.plan = b"x" * len(BYTES), tag, ["cut", *["500"] * 3]
    with pytest.raises(DataError):
        find(card(url=site.url), tmp_path)
    site.content = BYTES
    assert find(card(url=site.url), tmp_path).read_bytes() == BYTES
    assert site.ranges[-2:] == [f"bytes={len(BYTES) // 2}-", None]
    assert all("If-Range" not in headers for headers in site.asked)


@pytest.mark.parametrize("lie", ["longer", "shorter"])
def test_a_wrong_length_is_asked_again_and_then_refused(tmp_path, site, lie):
    site.plan = [lie, lie]
    assert find(card(url=site.url), tmp_path).read_bytes() == BYTES
    assert len(site.asked) == 3
    site.plan = [lie] * 4
    with pytest.raises(DataError, match=r"it announces .* bytes, the card says .*4 attempts"):
        find(card(url=site.url), tmp_path / "other")
    assert stored(tmp_path / "other") == {}


def test_a_login_page_does_not_replace_what_was_kept(tmp_path, site):
    site.plan = ["cut", *["500"] * 3]
    with pytest.raises(DataError):
        find(card(url=site.url), tmp_path)
    site.content, site.tag = b"please log in", '"login"'
    with pytest.raises(DataError, match="it announces 13 bytes"):
        find(card(url=site.url), tmp_path)
    assert stored(tmp_path)[".partial"] == len(BYTES) // 2
    site.content, site.tag = b"", TAG
    site.plan = ["416"] * 4
    with pytest.raises(DataError, match="its file ends there"):
        find(card(url=site.url), tmp_path)
    assert stored(tmp_path)[".partial"] == len(BYTES) // 2


def test_without_a_length_the_bytes_are_counted(tmp_path, site):
    site.plan = ["no length"]
    assert find(card(url=site.url), tmp_path).read_bytes() == BYTES
    site.content, site.plan = BYTES + b"more", ["no length"]
    with pytest.raises(DataError, match=r"gave more than [\d,]+ bytes.*refused and set aside"):
        find(card(url=site.url), tmp_path / "other")


def test_a_wrong_checksum_is_refused_and_the_next_download_starts_over(tmp_path, site):
    site.content = b"x" * len(BYTES)
    with pytest.raises(DataError, match=r"sha256 .*the card says.*refused and set aside as \S+\.wrong.*starts over"):
        find(card(url=site.url), tmp_path)
    assert len(site.asked) == 1
    assert stored(tmp_path)[".wrong"] == len(BYTES) and ".partial" not in stored(tmp_path)
    site.content = BYTES
    assert find(card(url=site.url), tmp_path).read_bytes() == BYTES
    assert site.ranges == [None, None]
    assert stored(tmp_path) == {"": len(BYTES)}


def test_a_wrong_sha1_is_refused(tmp_path, site):
    with pytest.raises(DataError, match="with sha1 "):
        find(card(sha256=None, sha1="0" * 40, url=site.url), tmp_path)


def test_a_missing_file_fails_at_once(tmp_path, site):
    for status in ("404", "403"):
        site.plan, site.asked = [status], []
        with pytest.raises(DataError, match=f"{status}.*--mirror"):
            find(card(url=site.url), tmp_path)
        assert len(site.asked) == 1
    assert stored(tmp_path) == {}


def test_a_busy_server_is_waited_for_as_it_asks(tmp_path, site):
    site.plan = ["busy:0", "429"]
    said = []
    patience = Patience(attempts=3, delay_s=0.0, on_wait=said.append)
    assert find(card(url=site.url), tmp_path, patience=patience).read_bytes() == BYTES
    assert ["503" in said[0], "429" in said[1], len(said)] == [True, True, 2]
    site.plan = ["busy:86400"]
    with pytest.raises(DataError, match="asks to wait 86,400 s"):
        find(card(url=site.url), tmp_path / "other")


def test_waits_double_and_are_bounded():
    patience = Patience(delay_s=2.0, longest_s=30.0)
    for failures, least, most in ((1, 1, 3), (2, 2, 6), (3, 4, 12), (20, 30, 30)):
        assert least <= patience.wait_s(failures, 0) <= most
    assert len({patience.wait_s(1, 0) for _ in range(9)}) > 1
    assert patience.wait_s(1, 17.0) == 17.0


def test_nobody_there_is_one_line(tmp_path):
    with pytest.raises(DataError, match="refused.*4 attempts.*--mirror"):
        find(card(url="http://127.0.0.1:1/x"), tmp_path)
    with pytest.raises(DataError, match="no http or https URL"):
        find(card(url="ftp://127.0.0.1/x"), tmp_path)


def test_stopping_keeps_what_came(tmp_path, site):
    came = []
    stopping = Patience(stop_requested=lambda: bool(came))
    with pytest.raises(Stopped, match="kept"):
        find(card(url=site.url), tmp_path, patience=stopping, on_progress=lambda *said: came.append(said))
    kept = stored(tmp_path)[".partial"]
    assert kept == came[-1][1] > 0

    def interrupted(*said):
        raise KeyboardInterrupt

    site.plan = ["no length"]
    with pytest.raises(KeyboardInterrupt):
        find(card(url=site.url), tmp_path / "other", on_progress=interrupted)
    assert stored(tmp_path / "other")[".partial"] > 0
    assert find(card(url=site.url), tmp_path).read_bytes() == BYTES


def test_two_at_once_download_one_file(tmp_path, site):
    site.plan = ["wait"]
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(find, card(url=site.url), tmp_path) for _ in range(2)]
        while not site.asked:
            threading.Event().wait(0.01)
        site.hold.set()
        assert {future.result().read_bytes() for future in both} == {BYTES}
    assert len(site.asked) == 1


def test_while_one_downloads_another_does_not_ask(tmp_path, site):
    asked = []

    def meanwhile(*said):
        patience = Patience(stop_requested=lambda: True)
        with ThreadPoolExecutor(1) as pool, pytest.raises(Stopped):
            pool.submit(find, card(url=site.url), tmp_path, patience=patience).result()
        asked.append(len(site.asked))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find(card(url=site.url), tmp_path, on_progress=meanwhile)
    assert asked == [1]
