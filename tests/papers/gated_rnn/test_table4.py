"""Table 4 reads the weights of the paper back from the LSTMs that are built."""

import numpy as np

from twofold.papers.gated_rnn import table4
from twofold.papers.gated_rnn.measured_conversion import Conversion


def test_table4_reads_the_papers_weights_back(tmp_path, pictures):
    blocks, cells = table4.reproduce(Conversion(d=3, tokens=16), out=tmp_path)
    attention, first, second = (block.built for block in blocks)
    assert [attention[gate] for gate in table4.GATES] == [
        ("0", "0", "100"),
        ("e W_K", "0", "0"),
        ("±e W_V", "0", "0"),
        ("±e W_Q", "0", "0"),
    ]
    assert first["f"] == ("0", "0", "s^-1(lambda)")
    assert (first["c~"][0], first["g"][0]) == ("e W_x^in", "±e W_m^in")
    assert second["f"] == ("0", "0", "-100")
    assert {second["c~"][0][-7:], second["g"][0][-7:]} <= {"W_x^out", "W_m^out"}
    assert {block.built["o"] for block in blocks[1:]} == {("0", "0", "100")}
    assert all(cell.error < 1e-6 for cell in cells.values())
    assert pictures.keys() == {"attention.png", "gated-rnn.png"}
    gates = {ax.get_title() for ax in pictures["attention.png"].axes}
    assert gates >= {"$U_f$", "$U_c$", "$U_g$", "$U_o$", "$b_f$", "readout"}
    assert [ax.get_ylabel() for ax in pictures["gated-rnn.png"].axes if ax.get_ylabel()] == ["layer 1", "layer 2"]
    assert (tmp_path / "table4.json").is_file()


def test_table4_names_weights_that_are_others():
    rows = np.array([[1.0, 2.0], [2.0, -1.0]])
    assert table4._name(rows, {"A": 3 * rows}) == "e A"
    assert table4._name(rows * [[1], [-1]], {"A": rows}) == "±e A"
    assert table4._name(rows + np.array([0, 0.1]), {"A": rows}) == "something else"
