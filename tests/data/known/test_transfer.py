"""Downloading one file from a source that fails in every way."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatewise.data.known import transfer
from gatewise.data.known.transfer import TRIES, Transfer, TransferError
from http_source import Source, answers, asked, breaks, chunked, head, honest, ignores_range, sends

CONTENT = bytes(range(256)) * 20


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / ".file.part"


def load(source: Source, part: Path, content: bytes = CONTENT, **settings: object) -> Transfer:
    source.files = {"file": content}
    sha256 = hashlib.sha256(content).hexdigest()
    each = Transfer(f"{source.url}file", part, len(content), len(content), sha256, **settings)  # type: ignore[arg-type]
    each.run()
    return each


def refused(source: Source, part: Path, **settings: object) -> str:
    with pytest.raises(TransferError) as caught:
        load(source, part, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def ranges(source: Source) -> list[str | None]:
    return [asked_for for _, asked_for in source.requests]


def test_a_file_comes_in_one_request(source: Source, part: Path) -> None:
    seen: list[int] = []
    load(source, part, came=seen.append)
    assert part.read_bytes() == CONTENT
    assert ranges(source) == [None]
    assert seen == sorted(seen)
    assert seen[-1] == len(CONTENT)


@pytest.mark.parametrize("resets", [False, True], ids=["closed", "reset"])
def test_what_came_is_not_asked_for_again(source: Source, part: Path, resets: bool) -> None:
    source.script = [breaks(1000, resets), breaks(500, resets)]
    load(source, part)
    assert part.read_bytes() == CONTENT
    if not resets:  # what is on its way is lost by a reset
        assert ranges(source) == [None, "bytes=1000-", "bytes=1500-"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(
    content=st.binary(min_size=1, max_size=3000),
    points=st.lists(st.tuples(st.integers(1, 1500), st.booleans(), st.booleans()), max_size=6),
    before=st.binary(max_size=4000),
)
def test_wherever_it_breaks_the_file_is_the_same(
    source: Source, part: Path, content: bytes, points: list[tuple[int, bool, bool]], before: bytes
) -> None:
    """Also behind a part of another file, and where only some answers know ranges or say their length."""
    kinds = {
        (False, False): breaks,
        (True, False): ignores_range,
        (False, True): chunked,
        (True, True): chunked,
    }
    source.script = [kinds[kind](after) for after, *kind in points for kind in [tuple(kind)]]
    part.write_bytes(before)
    load(source, part, content)
    assert part.read_bytes() == content


def test_a_whole_part_is_not_asked_for(source: Source, part: Path) -> None:
    part.write_bytes(CONTENT)
    load(source, part)
    assert source.requests == []


def test_a_part_of_something_else_is_given_up(source: Source, part: Path) -> None:
    part.write_bytes(b"x" * 700)
    load(source, part)
    assert part.read_bytes() == CONTENT
    assert ranges(source) == ["bytes=700-", None]


def test_wrong_bytes_are_refused_and_not_kept(source: Source, part: Path) -> None:
    source.always = sends(CONTENT[::-1])
    assert "another content" in refused(source, part)
    assert not part.exists()
    assert len(source.requests) == 1


def test_a_source_that_ignores_ranges_begins_anew(source: Source, part: Path) -> None:
    source.script = [breaks(1000)]
    source.always = ignores_range()
    load(source, part)
    assert part.read_bytes() == CONTENT
    assert ranges(source) == [None, "bytes=1000-"]


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_followed_and_keep_the_range(source: Source, part: Path, code: int) -> None:
    source.script = [answers(code, Location=f"{source.url}file"), breaks(900), answers(302, Location="/file")]
    load(source, part)
    assert part.read_bytes() == CONTENT
    assert ranges(source) == [None, None, "bytes=900-", "bytes=900-"]


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "gopher://x/"])
def test_redirects_lead_nowhere_but_to_http(source: Source, part: Path, place: str) -> None:
    source.always = answers(302, Location=place)
    assert place.partition(":")[0] in refused(source, part)
    assert not part.exists()


def test_redirects_in_a_circle_end(source: Source, part: Path) -> None:
    source.always = answers(302, Location="/file")
    assert "302" in refused(source, part)
    assert len(source.requests) < 20


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 451])
def test_a_file_that_there_is_not_is_asked_for_once(source: Source, part: Path, code: int) -> None:
    source.always = answers(code)
    assert f"the source answers {code}" in refused(source, part)
    assert len(source.requests) == 1


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_what_passes_is_waited_for_but_not_for_ever(source: Source, part: Path, code: int) -> None:
    source.script = [answers(code)] * (TRIES - 1)
    load(source, part)
    part.unlink()
    source.requests.clear()
    source.always = answers(code)
    assert f"{code}" in refused(source, part)
    assert len(source.requests) == TRIES


def test_the_source_may_ask_to_wait(source: Source, part: Path) -> None:
    source.script = [answers(503, Retry_After="0"), answers(503, Retry_After="Fri, 27 Nov 2026 08:00:00 GMT")]
    load(source, part)
    part.unlink()
    source.script = [answers(503, Retry_After="3600")]
    assert "asks to wait 3600 seconds" in refused(source, part)


def test_a_range_that_is_refused_is_given_up_once(source: Source, part: Path) -> None:
    part.write_bytes(CONTENT[:700])
    source.script = [answers(416)]
    load(source, part)
    assert part.read_bytes() == CONTENT
    part.write_bytes(CONTENT[:700])
    source.script = [answers(416), breaks(500), answers(416)]
    assert "416" in refused(source, part)


def test_a_file_that_is_shorter_at_the_source(source: Source, part: Path) -> None:
    source.always = lambda handler, content: honest(handler, content[:2000])
    assert "the source has 2000 bytes, where 5120 are expected" in refused(source, part)


def test_another_range_than_the_one_asked_for(source: Source, part: Path) -> None:
    def wrong_range(handler, content):
        head(handler, 206, Content_Range=f"bytes 0-99/{len(content)}", Content_Length=100)
        handler.wfile.write(content[:100])

    part.write_bytes(CONTENT[:700])
    source.script = [wrong_range]
    load(source, part)
    assert part.read_bytes() == CONTENT
    source.always = wrong_range
    part.write_bytes(CONTENT[:700])
    assert "another part" in refused(source, part)


def test_a_length_that_is_too_short_is_taken_for_a_break(source: Source, part: Path) -> None:
    def lies(handler, content):
        start = asked(handler)
        place = f"bytes {start}-{len(content) - 1}/{len(content)}"
        headers = {"Content_Range": place} if start else {}
        head(handler, 206 if start else 200, Content_Length=min(2000, len(content) - start), **headers)
        handler.wfile.write(content[start:])

    source.always = lies
    load(source, part)
    assert part.read_bytes() == CONTENT
    assert len(source.requests) == 3


def test_a_length_that_is_too_long_is_refused(source: Source, part: Path) -> None:
    source.always = sends(CONTENT, Content_Length=10**12)
    assert "the source has 1000000000000 bytes" in refused(source, part)
    for nonsense in ("-5", "ten", "9" * 400):
        source.always = sends(CONTENT, Content_Length=nonsense)
        part.unlink(missing_ok=True)
        load(source, part)
        assert part.read_bytes() == CONTENT


def test_no_more_is_kept_than_the_file_has(source: Source, part: Path) -> None:
    source.always = chunked()
    source.files = {"file": CONTENT * 3}
    known = Transfer(f"{source.url}file", part, len(CONTENT), len(CONTENT), "0" * 64)
    with pytest.raises(TransferError, match=f"more than the {len(CONTENT)} bytes"):
        known.run()
    assert not part.exists()


def test_a_source_that_says_nothing_is_not_waited_for(
    source: Source, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "PATIENCE_SECONDS", 0.1)

    def stalls(handler, content):
        head(handler, 200, Content_Length=len(content))
        handler.wfile.write(content[:100])
        handler.wfile.flush()
        time.sleep(0.3)

    source.script = [lambda *_: time.sleep(0.3), stalls]
    load(source, part)
    assert part.read_bytes() == CONTENT
    assert ranges(source) == [None, None, "bytes=100-"]
    part.unlink()
    source.always = lambda *_: time.sleep(0.3)
    assert "nothing came for 0.1 seconds" in refused(source, part)


def test_nobody_at_the_address_is_no_reason_to_wait(source: Source, part: Path) -> None:
    source.close()
    begun = time.monotonic()
    assert "Connection refused" in refused(source, part)
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://", "http://a b/", "nonsense"]
)
def test_an_address_that_is_none(part: Path, url: str) -> None:
    with pytest.raises(TransferError):
        Transfer(url, part, 10, 10, "0" * 64).run()
    assert not part.exists()


def test_the_proxy_of_the_environment_is_taken(
    source: Source, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", source.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    source.files = {"file": CONTENT}
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    Transfer("http://nowhere.invalid/file", part, len(CONTENT), len(CONTENT), sha256).run()
    assert source.requests == [("http://nowhere.invalid/file", None)]
    monkeypatch.setenv("no_proxy", "*")
    part.unlink()
    load(source, part)
    assert source.requests[-1] == ("/file", None)


def test_a_proxy_that_is_none_is_named_without_its_password(
    part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://me:secret@127.0.0.1:9/")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(TransferError, match=r"by way of the proxy 127\.0\.0\.1 \(http_proxy\)") as caught:
        Transfer("http://nowhere.invalid/file", part, 10, 10, "0" * 64).run()
    assert "secret" not in str(caught.value)


def test_a_full_disk_is_one_line(source: Source, tmp_path: Path) -> None:
    part = tmp_path / ".file.part"
    part.symlink_to("/dev/full")
    assert refused(source, part) == f"{part}: No space left on device"


def test_an_interrupt_leaves_what_came(source: Source, part: Path) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    source.script = [breaks(1000)]
    with pytest.raises(KeyboardInterrupt):
        load(source, part, came=interrupted)
    assert part.read_bytes() == CONTENT[:1000]
    load(source, part)
    assert ranges(source) == [None, "bytes=1000-"]
