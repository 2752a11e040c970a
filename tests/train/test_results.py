"""A kept result is made once, and again only where its settings or its file are other ones."""

import json
import os

import pytest

from twofold.train import kept

SETTINGS = {"steps": 3, "sizes": (1, 2)}


@pytest.fixture
def make():
    """A function that counts its calls in what it returns."""

    def made():
        made.calls += 1
        return {"call": made.calls, "pair": (0.1, float("inf"))}

    made.calls = 0
    return made


def test_a_result_is_made_once(tmp_path, make):
    file = tmp_path / "new" / "result.json"
    results = [kept(file, SETTINGS, make) for _ in range(3)]
    assert results == [{"call": 1, "pair": [0.1, float("inf")]}] * 3


def test_other_settings_make_another_result(tmp_path, make, caplog):
    file = tmp_path / "result.json"
    assert [kept(file, {"steps": n}, make)["call"] for n in (1, 1, 2, 2, 1)] == [1, 1, 2, 2, 3]
    assert not caplog.records


def damages(content):
    """Every prefix of a file, and the file with each of its bytes changed."""
    yield from (content[:length] for length in range(len(content)))
    for i, byte in enumerate(content):
        yield content[:i] + bytes([byte ^ 1]) + content[i + 1 :]
    yield from (b"null", b"[]", b"3", b'{"result": 1}', b"[" * 100_000, b'{"settings": {}, "checksum": null}')


def test_a_damaged_file_is_made_again_and_said_to_be_damaged(tmp_path, make, caplog):
    file = tmp_path / "result.json"
    kept(file, SETTINGS, make)
    whole = json.loads(file.read_text())["result"]
    for damaged in damages(file.read_bytes()):
        file.write_bytes(damaged)
        caplog.clear()
        found = kept(file, SETTINGS, make)
        # A change between white space, or in the settings, leaves the result; any other one is noticed.
        assert found == whole or (found["call"] == make.calls > 1 and "result.json is damaged" in caplog.text)


def test_a_failure_keeps_nothing(tmp_path, make, monkeypatch):
    file = tmp_path / "result.json"
    with pytest.raises(ZeroDivisionError):
        kept(file, SETTINGS, lambda: 1 / 0)
    assert not file.exists()

    def full(*names):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(OSError, match="No space left"):
            kept(file, SETTINGS, make)
    assert list(tmp_path.iterdir()) == []
    assert kept(file, SETTINGS, make)["call"] == 2


def test_an_unwritable_folder_is_found_before_the_work(tmp_path, make):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        kept(tmp_path / "file" / "result.json", SETTINGS, make)
    assert make.calls == 0
