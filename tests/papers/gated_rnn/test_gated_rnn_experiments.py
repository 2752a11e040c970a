"""The experiments do their whole job, here in small: figures, models and pictures are written, and a rerun agrees."""

import functools
import json
import re
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from twofold import InputError, demo, load
from twofold.convert import growing_gru, minimal_memory, to_gated_rnn
from twofold.discover import monomials
from twofold.layers import GatedRNN, LinearSelfAttention
from twofold.papers.gated_rnn import conversions, figure2, optimisers, table1, table2, table3, table4
from twofold.papers.gated_rnn.question import polynomial_at_question
from twofold.report.verdict import verdict
from twofold.tasks.classification import Classification
from twofold.tasks.students.in_context_regression import Recipe as Regression
from twofold.tasks.students.in_context_regression import gradient_step, loss_of_step, optimal_step, predictions
from twofold.tasks.students.teacher_student import Recipe
from twofold.tasks.students.ways import AdamW, LeastSquares

TINY = Recipe(size=2, hidden_size=6, gate_size=6, time=6, way=AdamW(batch=8, steps=60))
TINY_FAST = Recipe(size=2, hidden_size=5, gate_size=5, time=5, way=LeastSquares(steps=5, starts=1))


@pytest.fixture(autouse=True)
def _measured_less(monkeypatch):
    monkeypatch.setattr(table1, "TOLERANCES", ())
    monkeypatch.setattr(table2, "BATCHES", 2)


@pytest.mark.parametrize(("recipe", "seeds"), [(TINY, 1), (TINY_FAST, 2)], ids=["paper", "fast"])
def test_table1_is_made_written_printed_and_made_again(tmp_path, capsys, recipe, seeds):
    students, seconds = table1.reproduce(recipe, seeds=seeds, seed=3, out=tmp_path / "run", progress=False)
    again, seconds_again = table1.reproduce(recipe, seeds=seeds, seed=3, out=tmp_path / "run", progress=False)
    assert [s.figures for s in students] == [s.figures for s in again]
    assert seconds == seconds_again > 0
    Console(width=200).print(table1.table(students, recipe))
    printed = capsys.readouterr().out
    assert "4.97e-08" in printed
    assert f"{students[0].figures.loss:.2e}" in printed
    written = json.loads((tmp_path / "run" / "table1.json").read_text())
    assert [table1.Figures(**f) for f in written["students"]] == [s.figures for s in students]
    assert written["provenance"]["versions"].keys() >= {"twofold", "jax", "python"}
    for i, student in enumerate(students):
        folder = tmp_path / "run" / f"seed-{i}"
        assert (folder / "weights.png").stat().st_size > 10_000
        xs = np.random.default_rng(i).normal(size=(5, 2))
        np.testing.assert_array_equal(load(folder / "pruned")(xs), student.pruned(xs))


def test_both_recipes_have_the_same_teachers(assert_close):
    """That of one million steps and that of seconds can be compared student by student."""
    assert_close(table1._teachers(TINY, 2, 3), table1._teachers(TINY_FAST, 2, 3))


def test_students_are_begun_again_until_one_succeeds():
    teacher = LinearSelfAttention(2, 2, key=jax.random.key(0))
    hopeless = GatedRNN(2, 2, hidden_size=1, gate_size=1, key=jax.random.key(1))
    able = GatedRNN(2, 2, hidden_size=10, gate_size=12, key=jax.random.key(2))
    way = LeastSquares(steps=40, enough=1e-6)
    network, curve = table1.first_to_succeed(way, 6, [hopeless, able, hopeless], teacher, progress=False)
    assert network.hidden_size == 10
    assert curve.losses[-1] <= 1e-6
    assert np.all(np.diff(curve.losses) <= 0)
    assert np.all(np.diff(curve.seconds) >= 0)
    network, _ = table1.first_to_succeed(way._replace(enough=0.0), 6, [able, hopeless], teacher, progress=False)
    assert network.hidden_size == 10


def test_verdicts_say_by_how_much():
    assert "reached" in verdict(1.0, 1.0)
    assert "missed 3x" in verdict(3.0, 1.0)
    assert "missed 1.5x" in verdict(1.5, 1.0, "off by 0.5")
    assert "off by 0.5" in verdict(1.5, 1.0, "off by 0.5")


def test_figure2_shows_the_student_of_table1(tmp_path, capsys, monkeypatch):
    """Here a conversion, in the place of a trained one."""
    teacher = LinearSelfAttention(2, 2, key=jax.random.key(0))
    rnn = to_gated_rnn(teacher, "compact")
    figures = table1.Figures(1e-9, 1e-9, 1e-9, 1e-9, memory=3, forget=2, other=0, gate_rows=3, finetuned_loss=1e-20)
    student = table1.Student(teacher, rnn, rnn, rnn, figures, table1.Curve(np.ones(1), np.ones(1)), [])
    monkeypatch.setattr(table1, "scored_students", lambda *_, **__: ([student], 1.0))
    shown, kernels = figure2.reproduce(TINY_FAST, out=tmp_path)
    assert shown is student
    assert kernels.student.shape == kernels.teacher.shape == (2, 3, 2)
    assert (tmp_path / "figure2.png").stat().st_size > 10_000
    assert json.loads((tmp_path / "figure2.json").read_text())["kernel_error"] == kernels.error < 1e-12
    assert not (tmp_path / "table1.json").exists()  # which belongs to another command
    Console(width=200).print(figure2.table(shown, kernels))
    assert f"{kernels.error:.1e}" in capsys.readouterr().out


def test_kernels_of_a_conversion_are_its_source(normal):
    attention = LinearSelfAttention.from_weights(*(normal(n, 3, 3) for n in "vkq"))
    other = LinearSelfAttention.from_weights(*(normal(n, 3, 3) for n in "abc"))
    rnn = to_gated_rnn(attention, "compact")
    assert figure2.kernels(rnn, attention).error < 1e-12
    assert figure2.kernels(rnn, other).error > 0.1


TINY_REGRESSION = Regression(time=4, in_size=2, out_size=2, hidden_size=6, gate_size=6, way=AdamW(batch=8, steps=40))


def test_table2_is_made_written_and_printed(tmp_path, capsys):
    students, _ = table2.reproduce(TINY_REGRESSION, seeds=2, seed=3, out=tmp_path, progress=False)
    assert len(students[0].coefficients) == 2
    assert students[0] != students[1]
    Console(width=200).print(table2.table(students, TINY_REGRESSION))
    printed = capsys.readouterr().out
    assert "missed" in printed
    assert f"{np.mean([s.residual_norm for s in students]):.2e}" in printed
    written = json.loads((tmp_path / "table2.json").read_text())
    assert written["one step"]["coefficient"] == 1 / (4 + 2 - 0.2)
    assert (tmp_path / "seed-1" / "network" / "model.safetensors").is_file()
    with pytest.raises(InputError, match="seeds is 0"):
        table2.reproduce(TINY_REGRESSION, seeds=0, out=tmp_path / "other")


def test_gradient_descent_has_table2_of_gradient_descent():
    """The construction, scored like a trained student."""
    recipe = Regression(time=5)
    step = optimal_step(5)
    rnn = to_gated_rnn(gradient_step(step), "compact")
    figures = table2._figures(recipe, rnn, np.full(100, 0.5))
    np.testing.assert_allclose(figures.coefficients, step, rtol=1e-12)
    assert figures.residual_norm < 1e-12
    assert figures.one_token_norm < 1e-12
    assert figures.training_loss == 0.5
    np.testing.assert_allclose(figures.loss, loss_of_step(step, 5), rtol=1e-6)
    np.testing.assert_allclose(figures.validation_loss, 2 * loss_of_step(step, 5), rtol=1e-6)


def test_polynomial_at_the_question_is_the_function(assert_close):
    """For lambda = 1, whatever the weights."""
    recipe = Regression(time=4, in_size=2, out_size=2, hidden_size=5, gate_size=4)
    student = recipe.student(jax.random.key(0))
    student = eqx.tree_at(lambda rnn: rnn.recurrent, student, jnp.full(5, -60.0))
    polynomial = polynomial_at_question(student, 2, 4)
    tokens, _ = recipe.tasks(jax.random.key(1), 6)
    first, second = np.triu_indices(5)
    outputs = []
    for sequence in np.asarray(tokens):
        examples = np.concatenate([sequence[:-1], np.ones((4, 1))], 1)
        sums = (examples.T @ examples)[first, second]
        sums[-1] = 0  # The constant's is no variable.
        question = np.append(sequence[-1], 1)
        pairs = np.outer(question, question)[first, second]
        powers = np.array([np.prod(question[list(monomial)]) for monomial in monomials(4)])
        outputs.append(
            sums @ polynomial.mixed @ pairs + sums @ polynomial.examples @ sums + powers @ polynomial.question
        )
    assert_close(np.array(outputs), predictions(student, tokens)[:, 0], rtol=1e-10)


def test_ways_to_train_are_compared(tmp_path, monkeypatch, capsys):
    small = Recipe(size=4, hidden_size=6, gate_size=6, time=4, way=AdamW(batch=4, steps=1))
    ways = {
        "curriculum, Muon": optimisers._curriculum([2], small, optimisers._muon),
        "L-BFGS": optimisers._lbfgs(small, batch=8),
        "least squares": optimisers._least_squares(small, LeastSquares(steps=3, starts=1)),
    }
    assert len(optimisers.WAYS) >= len(ways)
    monkeypatch.setattr(optimisers, "WAYS", ways)
    monkeypatch.setattr(optimisers, "PROBE", 2)
    results = optimisers.compare(seconds=0.2, out=tmp_path, progress=False)
    Console(width=200).print(optimisers.table(results))
    printed = capsys.readouterr().out
    for name, result in results.items():
        assert name in printed
        assert result.curve.losses.shape == result.curve.seconds.shape
        assert 0 < result.loss < 1e3
    assert (tmp_path / "training.png").stat().st_size > 10_000
    assert json.loads((tmp_path / "training.json").read_text())["ways"].keys() == ways.keys()
    with pytest.raises(InputError, match="seconds is 0"):
        optimisers.compare(seconds=0.0, out=tmp_path)


def test_another_run_in_the_same_folder_is_refused(tmp_path):
    table1.train(TINY, seeds=1, seed=0, out=tmp_path / "run", progress=False)
    with pytest.raises(InputError, match="of seed = 0 rather than 1"):
        table1.reproduce(TINY, seed=1, out=tmp_path / "run", progress=False)


@pytest.mark.filterwarnings("ignore:Glyph")  # whatever fonts the machine has
def test_the_demo_does_its_whole_job(tmp_path, monkeypatch, capsys):
    small = functools.partial(Classification, dataset="BasicMotions", width=8, depth=1, heads=2, steps=4, batch=4)
    monkeypatch.setattr(demo, "Classification", small)
    monkeypatch.setattr(demo, "STREAM_TOKENS", 200)
    monkeypatch.setattr(demo, "SAMPLED", (10, 200))
    monkeypatch.setitem(table1.QUICK, "paper", TINY)
    figures = demo.run(tmp_path / "demo", Console(width=160))
    printed = capsys.readouterr().out
    written = json.loads((tmp_path / "demo" / "demo.json").read_text())
    assert written["conversions"] == figures["conversions"]
    assert [row["hidden"] for row in written["conversions"]] == [20, 14, 14]
    assert all(row["relative_error"] < 1e-5 for row in written["conversions"])
    aaren, transformer = written["streams"].values()
    assert len(set(aaren["state_bytes"])) == 1
    assert transformer["state_bytes"][0] < transformer["state_bytes"][-1]
    for picture in ("weights.png", "stream.png"):
        assert (tmp_path / "demo" / picture).stat().st_size > 10_000
        assert picture in printed.replace("\n", "")


def test_table3_is_built_measured_and_printed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(table3, "PLOTTED_SIZES", (1, 2))
    cells = table3.reproduce(d=2, tokens=16, out=tmp_path, progress=False)
    for name, row in cells.items():
        rnn, *attention = row.values()
        built = rnn.layers, attention[0].layers
        assert built == {"GRU": (5, 3)}.get(name, table3.PUBLISHED[name])
        assert all(cell.layers == built[1] for cell in attention)
        assert all(cell.error < 1e-6 for cell in row.values())
    assert [cell.neurons for cell in cells["gated RNN"].values()] == [5, 4 + 2, 3 + 2, 1 + 1]
    assert [cell.neurons for cell in cells["LRU"].values()] == [5, 4, 3, 1]
    Console(width=200).print(table3.table(cells, 2, 16, "float64"))
    printed = capsys.readouterr().out
    assert "published: -, -" in printed
    assert f"error {cells['LSTM']['gated RNN'].error:.1e}" in printed
    assert "differs" not in printed
    written = json.loads((tmp_path / "table3.json").read_text())
    assert written["cells"]["GRU"]["gated RNN"] == cells["GRU"]["gated RNN"]._asdict()
    assert written["costs"]["parameters"]["paper"]["attention"] == [3, 12]
    assert (tmp_path / "costs.png").stat().st_size > 10_000


def test_table3_says_where_it_differs_from_the_paper(capsys):
    cell = table3.Cell(layers=1, neurons=1, parameters=1, error=0.0)
    Console(width=200).print(table3.table({"LRU": {"gated RNN": cell, "attention": cell}}, 2, 16, "float64"))
    assert "differs" in capsys.readouterr().out


def test_table4_reads_the_papers_weights_back(tmp_path):
    blocks, cells = table4.reproduce(d=3, tokens=16, out=tmp_path)
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
    assert {path.name for path in tmp_path.iterdir()} == {"table4.json", "attention.png", "gated-rnn.png"}


def test_table4_names_weights_that_are_others():
    rows = np.array([[1.0, 2.0], [2.0, -1.0]])
    assert table4._name(rows, {"A": 3 * rows}) == "e A"
    assert table4._name(rows * [[1], [-1]], {"A": rows}) == "±e A"
    assert table4._name(rows + np.array([0, 0.1]), {"A": rows}) == "something else"


def test_sizes_of_tables_are_checked(tmp_path):
    for table in (table3, table4):
        with pytest.raises(InputError, match="d is 0 and tokens is 5"):
            table.reproduce(d=0, tokens=5, out=tmp_path)


@pytest.mark.parametrize(("d", "rank"), [(3, 1), (3, 2), (4, 2)])
def test_fewer_memory_neurons_than_the_minimal_form_has_lose_something(normal, d, rank):
    """The best that any search finds is what the singular values forbid to beat; with as many as the form has, nothing."""
    w_v, w_k, w_q = (normal(f"{n} left", d, rank) @ normal(f"{n} right", rank, d) for n in "vkq")
    attention = LinearSelfAttention.from_weights(w_v, w_k, w_q)
    needed = int(np.sum(to_gated_rnn(attention, "minimal").lam == 1))
    assert minimal_memory.best_fit(attention, needed, starts=2) < 1e-5
    assert minimal_memory.least_loss(attention, needed) < 1e-12
    bound = minimal_memory.least_loss(attention, needed - 1)
    assert bound > 1e-6
    assert minimal_memory.best_fit(attention, needed - 1, starts=2) >= bound * (1 - 1e-6)


@pytest.mark.parametrize(("growth", "holds"), [(1e3, 98), (1e5, 58)])
def test_growing_gru_holds_until_its_state_leaves_the_linear_range(growth, holds):
    error = growing_gru.error_by_token(growth, holds + 10)
    assert np.all(error[: holds - 2] < 20 / growth)
    assert np.max(error[holds:]) > 0.1


def test_pictures_of_the_conversions_are_drawn(tmp_path, monkeypatch):
    for name, small in {"GROWN_TOKENS": 20, "SUMMED_TOKENS": 30, "MEMORIES": range(2)}.items():
        monkeypatch.setattr(conversions, name, small)
    figures = conversions.draw(tmp_path, progress=False)
    assert figures["memory"]["best found"][0] == 1
    names = {path.name for path in tmp_path.iterdir()}
    page = (Path(__file__).parents[3] / "docs" / "conversions.md").read_text()
    assert {Path(link).name for link in re.findall(r"\((conversions/.*\.png)\)", page)} == names - {"conversions.json"}


def test_a_damaged_curve_is_trained_again(tmp_path, caplog):
    """A file cut short, as an interrupted write in place would leave it, does not break the resumed run."""
    out = tmp_path / "run"
    first, _ = table1.scored_students(TINY_FAST, seed=3, out=out, progress=False)
    file = out / "seed-0" / "curve.json"
    file.write_text(file.read_text()[:20])
    again, _ = table1.scored_students(TINY_FAST, seed=3, out=out, progress=False)
    assert again[0].figures == first[0].figures
    assert str(file) in caplog.text
