"""A file has its old content or the new one, whatever happens while it is written."""

import os
import stat

import pytest

from twofold.atomic import write_whole


def test_the_content_is_replaced_and_nothing_else_is_left(tmp_path):
    file = tmp_path / "run.json"
    for data, content in (("old ä", "old ä".encode()), (b"\x00new", b"\x00new")):
        write_whole(file, data)
        assert file.read_bytes() == content
    assert list(tmp_path.iterdir()) == [file]


def test_the_file_has_the_mode_that_the_umask_gives(tmp_path):
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_the_error_of_a_full_disk_names_the_file(tmp_path, monkeypatch):
    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*some.json"):
        write_whole(tmp_path / "some.json", "content")


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_content_and_no_other_file(call, error, tmp_path, monkeypatch):
    def fail(*args):
        raise error

    file = tmp_path / "file"
    write_whole(file, "old")
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(error)):
        write_whole(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_what_a_killed_writer_left_is_overwritten(tmp_path):
    (tmp_path / ".file.new").write_bytes(b"half of something long")
    write_whole(tmp_path / "file", "whole")
    assert (tmp_path / "file").read_text() == "whole"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_content_is_on_the_disk_before_its_name_and_the_name_before_the_return(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace

    def recorded(number):
        events.append("folder" if stat.S_ISDIR(os.fstat(number).st_mode) else "file")
        fsync(number)

    monkeypatch.setattr(os, "fsync", recorded)
    monkeypatch.setattr(os, "replace", lambda *names: (events.append("replace"), replace(*names)))
    write_whole(tmp_path / "file", "content")
    assert events == ["file", "replace", "folder"]
