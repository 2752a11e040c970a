"""Pictures of lines show the numbers that they are given, on the axes that they name."""

import numpy as np
import pytest

from twofold.report.line_pictures import STREAM_COLOURS, draw_costs, draw_lines, draw_streams


@pytest.mark.parametrize("log_x", [True, False])
def test_lines_have_their_numbers(lines_of, log_x):
    lines = {"one": (np.array([1.0, 2.0]), np.array([0.5, 0.1])), "two": (np.arange(1.0, 99), np.ones(98))}
    (axes,) = draw_lines(lines, xlabel="seconds", ylabel="loss", log_x=log_x).axes
    assert lines_of(axes) == {name: (x.tolist(), y.tolist()) for name, (x, y) in lines.items()}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("seconds", "loss")
    assert (axes.get_xscale(), axes.get_yscale()) == ("log" if log_x else "linear", "log")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(lines)


def test_costs_have_a_panel_for_each_form(lines_of):
    names = ("attention", "gated RNN", "LRU", "LRU In-Out", "LRU In-Skip", "LSTM", "GRU")
    costs = {
        form: {name: [n * m, m] for m, name in enumerate(names, 1)} for n, form in enumerate(("paper", "compact"), 5)
    }
    figure = draw_costs((2, 3), costs)
    for axes, (form, parameters) in zip(figure.axes, costs.items(), strict=True):
        assert (axes.get_title(), axes.get_xlabel()) == (f"{form} form", "d")
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        assert lines_of(axes) == {name: ([2, 3], values) for name, values in parameters.items()}


def stream(*, integrated, **more):
    return {
        "tokens": [10, 20],
        "state_bytes": [2**10, 2**11],
        "cumulative_seconds": [0.5, 2.0],
        "integrated": integrated,
    } | more


def test_streams_have_their_numbers_in_units(lines_of):
    memory = {"peak_bytes": [2**20, 3 * 2**20]}
    streams = {"Aaren": stream(integrated=False, **memory), "Transformer": stream(integrated=True, **memory)}
    figure = draw_streams(streams)
    state, peak, time = figure.axes
    assert lines_of(state) == dict.fromkeys(streams, ([10, 20], [1.0, 2.0]))
    assert lines_of(peak) == dict.fromkeys(streams, ([10, 20], [1.0, 3.0]))
    assert lines_of(time) == dict.fromkeys(streams, ([10, 20], [0.5, 2.0]))
    assert [axes.get_ylabel().split(" (")[0] for axes in figure.axes] == [
        "state",
        "peak of resident memory",
        "seconds in all",
    ]
    assert peak.get_ylim()[0] == 0
    for axes in figure.axes:
        assert [line.get_color() for line in axes.lines] == STREAM_COLOURS[:2]
        assert [line.get_linestyle() for line in axes.lines] == ["-", "--" if axes is time else "-"]
    assert time.get_ylabel() == "seconds in all (dashed: integrated)"


def test_memory_that_was_not_measured_has_no_panel():
    streams = {"Aaren": stream(integrated=False, peak_bytes=[1, 2]), "Transformer": stream(integrated=False)}
    state, time = draw_streams(streams).axes
    assert state.get_ylabel() == "state (KiB)"
    assert time.get_ylabel() == "seconds in all"
