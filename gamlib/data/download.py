"""Downloads a file that may take long: goes on after a cut, and gives up on a source that is too slow."""

import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path

from gamlib._output import progress_bar

TIMEOUT = 20.0  # seconds without a byte
MIN_SPEED = 10_000  # bytes a second, over WINDOW seconds; the throttled host of CIFAR-100 gives about 60,000
WINDOW = 30.0
FRUITLESS = 3  # attempts in a row that bring nothing new
PAUSE = 2.0  # seconds before another attempt


class DownloadError(Exception):
    """A source that gives up, or that was given up; the message says why."""


def fetch(url: str, partial: Path) -> None:
    """Download `url` into `partial`, going on where an earlier attempt stopped, in this process or another.

    Whether it is the right file is for the caller to check.

    Raises:
        DownloadError: where `url` is no http:// or https:// address, or the source answers with an error, stalls, or
            stays slower than MIN_SPEED.
        OSError: where `partial` can't be written.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise DownloadError("an address must begin with http:// or https://")
    fruitless = 0
    while True:
        before = size(partial)
        try:
            return _attempt(url, partial)
        except urllib.error.HTTPError as error:
            if error.code == 416 and before > 0:  # nothing is left to send; the caller checks what is here
                return None
            if error.code < 500:
                raise DownloadError(f"the server answers {error.code} {error.reason}") from None
            reason = f"the server answers {error.code} {error.reason}"
        except urllib.error.URLError as error:
            reason = f"no connection ({error.reason})"
        except TimeoutError:
            reason = f"no byte for {TIMEOUT:g} seconds"
        except (ConnectionError, http.client.HTTPException, ValueError) as error:  # ValueError: a malformed address
            reason = str(error) or type(error).__name__
        fruitless = fruitless + 1 if size(partial) <= before else 0
        if fruitless == FRUITLESS:
            raise DownloadError(reason)
        time.sleep(PAUSE)


def size(path: Path) -> int:
    """Bytes in a file; 0 where there is none."""
    return path.stat().st_size if path.is_file() else 0


def _attempt(url: str, partial: Path) -> None:
    have = size(partial)
    request = urllib.request.Request(url, headers={"User-Agent": "gamlib", "Range": f"bytes={have}-"})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        goes_on = answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        have = have if goes_on else 0
        length = answer.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        bar = progress_bar(total=total, initial=have, unit="B", unit_scale=True, desc=request.host)
        partial.parent.mkdir(parents=True, exist_ok=True)
        with bar, open(partial, "ab" if goes_on else "wb") as file:
            since, received = time.monotonic(), 0
            while chunk := answer.read1(1 << 16):
                file.write(chunk)
                bar.update(len(chunk))
                have, received = have + len(chunk), received + len(chunk)
                passed = time.monotonic() - since
                if passed > WINDOW:
                    if received / passed < MIN_SPEED:
                        raise DownloadError(f"slower than {MIN_SPEED / 1000:g} kB/s")
                    since, received = time.monotonic(), 0
    if total is not None and have < total:
        raise ConnectionError(f"cut after {have:,} of {total:,} bytes")
