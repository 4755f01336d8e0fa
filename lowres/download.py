"""Reading URLs: retries that back off, and files that go on where they broke off."""

import email.utils
import http.client
import random
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lowres import __version__
from lowres.errors import DataError, Stopped

USER_AGENT = f"lowres/{__version__} (research corpus builder; python urllib)"
_CHUNK = 1 << 20
_MAY_PASS = (408, 425, 429)  # and all of 500 and more
_LONGEST_TEXT = 64 << 20


@dataclass(frozen=True)
class Patience:
    """How long a server is asked again.

    attempts: in a row that gain less than 1 MiB. delay_s: before the second, doubled before each that follows, with
    jitter. longest_s: no wait is longer; a server that asks for a longer one (Retry-After) is given up.
    """

    attempts: int = 6
    delay_s: float = 1.0
    longest_s: float = 120.0
    timeout_s: float = 60.0
    stop_requested: Callable[[], bool] = lambda: False
    on_wait: Callable[[str], None] = lambda line: None

    def wait_s(self, failures: int, asked_s: float) -> float:
        """Seconds before the next attempt, after `failures` in a row; at least the `asked_s` of the server."""
        backed_off = self.delay_s * 2 ** (failures - 1) * random.uniform(0.5, 1.5)
        return max(asked_s, min(backed_off, self.longest_s))

    def check_stop(self) -> None:
        """Raises Stopped when the user asked to stop."""
        if self.stop_requested():
            raise Stopped("stopped; what was downloaded is kept, run the same command again to go on")

    def after(self, fault: "_Again", failures: int, url: str) -> None:
        """Waits before the next attempt. Raises DataError where there shall be none."""
        if failures >= self.attempts:
            raise DataError(f"{url} could not be read ({fault}; {failures} attempts)") from fault
        if fault.asked_s > self.longest_s:
            raise DataError(
                f"{url} could not be read ({fault}; the server asks to wait {fault.asked_s:,.0f} s)"
            ) from fault
        seconds = self.wait_s(failures, fault.asked_s)
        self.on_wait(f"{url}: {fault}; again in {seconds:.0f} s")
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.check_stop()
            time.sleep(min(left, 0.5))


class _Again(Exception):
    """A fault that may pass. asked_s: seconds that the server asks to wait."""

    def __init__(self, what: str, asked_s: float = 0.0):
        self.asked_s = asked_s
        super().__init__(what)


def read_text(url: str, patience: Patience) -> str | None:
    """The UTF-8 text at a URL; None where the server says that there is none (404). Raises DataError."""
    failures = 0
    while True:
        try:
            with _opened(url, {}, patience.timeout_s) as answer:
                content = _whole(answer)
            return content.decode("utf-8")
        except _Again as fault:
            failures += 1
            patience.after(fault, failures, url)
        except _Missing:
            return None
        except UnicodeDecodeError as error:
            raise DataError(f"{url}: not UTF-8 text (byte {error.start})") from error


def download(url: str, partial: Path, size: int, patience: Patience, on_bytes: Callable[[int], None]) -> bool:
    """Brings the `size` bytes at a URL into `partial`, going on behind what is there already.

    Returns whether they all came in one answer. More than `size` bytes are never read, but for the one that shows it.
    Raises DataError where they cannot be had, Stopped when asked to stop; both keep what came.
    """
    failures = 0
    partial.touch()
    at_once = partial.stat().st_size == 0
    while (have := partial.stat().st_size) < size:
        try:
            at_once = _read_on(url, partial, size, patience, on_bytes) == 0
            fault = _Again(f"the answer ended after {partial.stat().st_size:,} of {size:,} bytes")
        except _Again as caught:
            fault = caught
        except _Missing:
            raise DataError(f"{url} could not be read (404: there is no such file)") from None
        if (now := partial.stat().st_size) < size:
            failures = 1 if now - have >= _CHUNK else failures + 1
            patience.after(fault, failures, url)
    return at_once


def _read_on(url: str, partial: Path, size: int, patience: Patience, on_bytes: Callable[[int], None]) -> int:
    """One answer, written behind what is there, or from the start where the server ignores ranges.

    Returns where it began. Raises _Again where what the server says does not fit the file.
    """
    have, tag_file = partial.stat().st_size, partial.with_suffix(".etag")
    headers = {}
    if have:
        headers["Range"] = f"bytes={have}-"
        if tag_file.is_file():  # a file that changed is then sent whole
            headers["If-Range"] = tag_file.read_text(encoding="utf-8")
    with _opened(url, headers, patience.timeout_s) as answer:
        start, total = _announced(answer)
        if total is not None and total != size:  # another file, or a page that asks to log in: what came so far is kept
            raise _Again(f"it announces {total:,} bytes, the card says {size:,}")
        if start not in (0, have):
            raise _Again(f"asked for bytes from {have:,} on, it sends from {start:,} on")
        tag = answer.headers.get("ETag", "")
        if tag.startswith('"'):
            tag_file.write_text(tag, encoding="utf-8")
        else:  # none, or a weak one, which If-Range may not name
            tag_file.unlink(missing_ok=True)
        _copy(answer, partial, "ab" if start else "wb", size, patience, on_bytes)
    return start


def _copy(
    answer: http.client.HTTPResponse,
    partial: Path,
    mode: str,
    size: int,
    patience: Patience,
    on_bytes: Callable[[int], None],
) -> None:
    with partial.open(mode, buffering=_CHUNK) as out:
        done = out.tell()
        while done <= size:
            patience.check_stop()
            try:
                chunk = answer.read1(_CHUNK)  # never waits for more than the next bytes, so a cut loses none that came
            except (OSError, http.client.HTTPException) as error:
                raise _Again(_said(error)) from error
            if not chunk:
                return
            done += out.write(chunk[: size + 1 - done])
            on_bytes(done)


class _Missing(Exception):
    """404."""


def _opened(url: str, headers: dict[str, str], timeout_s: float) -> http.client.HTTPResponse:
    """An answer whose body is to be read. Raises _Again, _Missing, or DataError where asking again is of no use."""
    if not re.match(r"https?://", url):
        raise DataError(f"{url} is no http or https URL")
    request = urllib.request.Request(url, headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers})
    try:
        return urllib.request.urlopen(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 404:
                raise _Missing from error
            if error.code == 416:
                raise _Again(
                    f"it says that its file ends there ({error.headers.get('Content-Range', '416')})"
                ) from error
            if error.code in _MAY_PASS or error.code >= 500:
                asked = _seconds(error.headers.get("Retry-After"))
                raise _Again(f"{error.code} {error.reason}", asked) from error
            raise DataError(f"{url} could not be read ({error.code} {error.reason})") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError) or "unknown url type" in str(error.reason):
            raise DataError(f"{url} could not be read ({error.reason})") from error
        raise _Again(_said(error.reason)) from error
    except http.client.InvalidURL as error:
        raise DataError(f"{url} could not be read ({error})") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Again(_said(error)) from error


def _whole(answer: http.client.HTTPResponse) -> bytes:
    """The body of a short answer. Raises _Again where it is cut."""
    try:
        content = answer.read(_LONGEST_TEXT)
    except (OSError, http.client.HTTPException) as error:
        raise _Again(_said(error)) from error
    _, total = _announced(answer)
    if total is not None and len(content) < total:
        raise _Again(f"the answer ended after {len(content):,} of {total:,} bytes")
    return content


def _announced(answer: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Where an answer begins in the file, and how long it says the whole file is."""
    if answer.status == 206:
        found = re.match(r"bytes (\d+)-\d+/(\d+|\*)$", answer.headers.get("Content-Range", ""))
        if not found:
            raise _Again("a part was sent without saying which (no Content-Range)")
        return int(found[1]), None if found[2] == "*" else int(found[2])
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _seconds(retry_after: str | None) -> float:
    """Of a Retry-After header: seconds, or a date; 0 where there is none or nonsense."""
    if retry_after is None:
        return 0.0
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return 0.0


def _said(error: object) -> str:
    return str(error) or type(error).__name__
