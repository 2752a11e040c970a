"""A sweep has the results of all its cells, whatever becomes of the workers; what is kept is not computed again."""

import os
import sys
from functools import partial

import dask
import pytest

from twofold import InputError
from twofold.train.sweep import Cell, Workers, addressed, sweep

NOWHERE = Workers(scheduler="tcp://127.0.0.1:1")


def cells(folder, make, count=4):
    """Cells that have `make` of a number as their results."""
    settings = [{"number": number} for number in range(count)]
    return [Cell(f"cell {n}", addressed(folder, one), one, partial(make, n)) for n, one in enumerate(settings)]


def test_results_are_in_order_and_are_kept(tmp_path, threads):
    each = cells(tmp_path, lambda n: {"square": n**2})
    squares = [{"square": n**2} for n in range(4)]
    assert sweep(each, threads, progress=False) == squares
    assert sorted(tmp_path.iterdir()) == sorted(cell.file for cell in each)
    assert sweep(each, NOWHERE, progress=False) == squares


def test_a_sweep_goes_on_where_it_was_stopped(tmp_path, threads):
    sweep(cells(tmp_path, lambda n: n, 2), threads, progress=False)
    assert sweep(cells(tmp_path, lambda n: -n), threads, progress=False) == [0, 1, -2, -3]


def test_other_settings_have_another_file(tmp_path):
    files = {
        addressed(tmp_path, settings) for settings in ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1}, {"a": 1.5}, [1])
    }
    assert len(files) == 4


def test_a_cell_that_fails_runs_once_more_on_another_worker(tmp_path, threads, capsys):
    log = tmp_path / "log"

    def make(n):
        from distributed import get_worker

        if n == 2:
            with log.open("a") as file:
                print(get_worker().address, file=file)
            if len(log.read_text().split()) == 1:
                raise ZeroDivisionError("for once")
        return n

    assert sweep(cells(tmp_path, make), threads, progress=False) == [0, 1, 2, 3]
    first, second = log.read_text().split()
    assert first != second
    assert f"cell 2 failed on {first}" in capsys.readouterr().out


def test_a_cell_that_fails_twice_has_no_result(tmp_path, threads, capsys):
    each = cells(tmp_path, lambda n: 6 // (n - 1))
    assert sweep(each, threads, progress=False) == [-6, None, 6, 3]
    assert capsys.readouterr().out.count("ZeroDivisionError: integer division or modulo by zero") == 2
    assert [cell.file.exists() for cell in each] == [True, False, True, True]


def test_input_that_cannot_be_used_ends_the_sweep(tmp_path, threads):
    def make(n):
        raise InputError(f"n is {n}; it must be even")

    with pytest.raises(InputError, match="n is 0"):
        sweep(cells(tmp_path, make, 1), threads, progress=False)


DYING = """
import os, signal

def make(marks, n):
    if n == 1 and not os.path.exists(marks):
        open(marks, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return [n, os.getpid()]
"""


def test_a_worker_that_is_killed_costs_its_cell_alone(tmp_path, monkeypatch, capsys):
    (tmp_path / "dying.py").write_text(DYING)
    monkeypatch.syspath_prepend(tmp_path)
    import dying

    each = cells(tmp_path / "cells", partial(dying.make, str(tmp_path / "mark")))
    results = sweep(each, Workers(workers=2), progress=False)
    assert [n for n, _ in results] == [0, 1, 2, 3]
    assert os.getpid() not in {process for _, process in results}
    assert "died; what it had to do runs elsewhere: cell 1" in capsys.readouterr().out
    sys.modules.pop("dying")


def test_a_scheduler_that_does_not_answer_is_named(tmp_path):
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "100ms"}),
        pytest.raises(InputError, match=r"127\.0\.0\.1:1;"),
    ):
        sweep(cells(tmp_path, lambda n: n), NOWHERE, progress=False)


def test_no_workers_are_refused(tmp_path):
    with pytest.raises(InputError, match="workers is 0; it must be at least 1"):
        sweep(cells(tmp_path, lambda n: n), Workers(workers=0))


def test_what_to_install_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"pip install 'twofold\[sweep\]'"):
        sweep(cells(tmp_path, lambda n: n), progress=False)
