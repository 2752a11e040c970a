"""Forecasting: runs learn, are saved, evaluated again and streamed; metrics are those of a plain loop over windows."""

import dataclasses
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twofold import InputError, Stream, load
from twofold.data.series import Series
from twofold.tasks.forecasting import Forecasting
from twofold.tasks.run import evaluate_run, train

SMALL = Forecasting(
    horizon=5, context=6, patch=3, memory=8.0, width=8, depth=1, heads=2, batch=4, steps=5, measurements=1
)
LEARNT = dataclasses.replace(
    SMALL, horizon=8, context=12, patch=8, memory=24.0, learning_rate=1e-2, steps=150, measurements=3
)

compiled = jax.jit(lambda layer, xs: layer(xs))
validation = eqx.filter_jit(lambda task, *args: task.validation(*args))
loss = eqx.filter_jit(lambda task, *args: task.loss(*args))


@pytest.fixture(scope="module")
def series(normal):
    """Of two places: three series, of which two are forecast, and a covariate; a season of 4."""
    values = normal("values", 2, 150, 4) * [3, 0.1, 1, 1] + [20, 0, -3, 0]
    return Series("some", values, ("a", "b", "c", "known"), 3, (2, 0), 4, "made up")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Of a sine without noise, whose period is not that of the days."""
    folder = tmp_path_factory.mktemp("forecasting")
    file = folder / "sine.csv"
    file.write_text("a\n" + "".join(f"{10 + 3 * np.sin(2 * np.pi * t / 23)}\n" for t in range(400)))
    task = dataclasses.replace(LEARNT, csv=file)
    return folder / "run", task, train(task, folder / "run", progress=False)


def test_a_small_model_learns(run):
    _, _, (_, tables, figures, _) = run
    for metric in ("MSE", "MAE"):
        for row in ("test", "test, one stream"):
            assert tables[0][row][metric] < 0.5 * tables[0]["last value"][metric]
    assert "seasonal naive" not in tables[0]
    assert figures["streaming error"][0] < 1e-5


def test_the_saved_model_has_the_same_metrics(run):
    folder, task, (_, tables, _, _) = run
    assert evaluate_run(folder) == (task, tables[0])


def test_a_stream_has_the_answers_of_the_sequence(run, assert_close):
    folder, task, (models, _, _, data) = run
    stream, tokens = Stream(load(folder)), task.example(data)
    assert_close(np.stack([stream.push(x) for x in tokens]), np.asarray(compiled(models[0], tokens)), rtol=1e-5)


def test_forecasts_are_in_the_units_of_the_data(run):
    """10 is the mean of the sine, and 13 its largest value."""
    _, task, (models, _, _, data) = run
    forecasts = np.asarray(compiled(models[0], data.values[0, :200].astype("float32")))[50:]
    came = np.lib.stride_tricks.sliding_window_view(data.values[0, 51 : 200 + task.horizon, 0], task.horizon)
    assert np.sqrt(np.mean((forecasts - came) ** 2)) < 1.0


def standardised(data, end):
    """The series, and what is known beforehand as it is; in float64."""
    train = data.values[:, :end, : data.variates].reshape(-1, data.variates)
    values = data.values.copy()
    values[:, :, : data.variates] = (values[:, :, : data.variates] - train.mean(0)) / train.std(0)
    return values


def errors(pairs):
    difference = np.array([forecast - came for forecast, came in pairs])
    return {"MSE": np.mean(difference**2), "MAE": np.mean(np.abs(difference))}


def windows(values, data, horizon):
    """All windows of the test part, the last 30 of 150 observations: the series, the last observation, what came."""
    for place in values:
        for last in range(119, 150 - horizon):
            yield place, last, place[last + 1 : last + 1 + horizon][:, list(data.targets)]


def test_every_window_of_the_test_part_counts(series, assert_close):
    """From its own look-back, the last observations of which the mixer reads; or all after the first in one stream."""
    model = SMALL.model(series, jax.random.key(0))
    table = SMALL.evaluate(SMALL.deployed(model, series), series)
    values = standardised(series, 105)
    forecast = jax.jit(lambda xs: model.forecasts_at(jnp.array([len(xs) - 1 - model.lags]), xs)[0])
    lookback = model.lags + SMALL.context
    assert lookback == 9
    alone, streamed = [], []
    for place, last, came in windows(values, series, SMALL.horizon):
        alone.append((forecast(place[last + 1 - lookback : last + 1]), came.ravel()))
    stream = jax.jit(lambda xs: model.forecasts_at(np.arange(lookback - 1, 34) - model.lags, xs))
    for place in values:
        made = stream(place[111:145])
        streamed += zip(made, [c.ravel() for _, _, c in windows(place[None], series, SMALL.horizon)], strict=True)
    assert len(alone) == len(streamed) == 2 * 26
    assert_close(table["test"], errors(alone), rtol=1e-4)
    assert_close(table["test, one stream"], errors(streamed), rtol=1e-4)


@pytest.mark.parametrize("horizon", [4, 9])  # a season, and two and a part of a third
def test_naive_forecasts_repeat_the_last_value_and_the_last_season(series, assert_close, horizon):
    task = dataclasses.replace(SMALL, horizon=horizon)
    table = task.evaluate(task.deployed(task.model(series, jax.random.key(0)), series), series)
    last_value, seasonal = [], []
    for place, last, came in windows(standardised(series, 105), series, horizon):
        past = place[: last + 1, list(series.targets)]
        last_value.append((np.array([past[-1]] * horizon), came))
        seasonal.append((np.array([past[-4:][ahead % 4] for ahead in range(horizon)]), came))
    assert_close(table["last value"], errors(last_value), rtol=1e-5)
    assert_close(table["seasonal naive"], errors(seasonal), rtol=1e-5)


def test_nothing_after_the_training_part_is_in_the_standardisation(series, assert_close):
    model = SMALL.model(series, jax.random.key(0))
    later = series._replace(values=np.where(np.arange(150)[:, None] < 105, series.values, 1e6))
    first, second = (SMALL.deployed(model, data) for data in (series, later))
    assert_close(second, first)
    np.testing.assert_array_equal(SMALL.arrays(later)["train"], SMALL.arrays(series)["train"])
    train = series.values[:, :105]
    np.testing.assert_allclose(first.in_mean, [*train.mean((0, 1))[:3], 0], rtol=1e-6)
    np.testing.assert_allclose(first.in_scale, [*train.std((0, 1))[:3], 1], rtol=1e-6)
    np.testing.assert_allclose(first.out_mean, np.tile(train.mean((0, 1))[[2, 0]], SMALL.horizon), rtol=1e-6)
    np.testing.assert_allclose(first.out_scale, np.tile(train.std((0, 1))[[2, 0]], SMALL.horizon), rtol=1e-6)


def test_nothing_of_the_test_part_is_among_the_arrays(series):
    spoiled = series._replace(values=np.where(np.arange(150)[:, None] < 120, series.values, np.nan))
    arrays, expected = SMALL.arrays(spoiled), standardised(series, 105)
    assert arrays.keys() == {"train", "validation"}
    np.testing.assert_allclose(arrays["train"], expected[:, :105], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(arrays["validation"], expected[:, 105 - 9 : 120], rtol=1e-5, atol=1e-6)


WINDOW = dataclasses.replace(SMALL, protocol="window")


def test_a_window_is_all_that_its_forecast_is_made_from(series, assert_close):
    """The model starts fresh at the first of `context` observations, and normalises by all that it has seen since then."""
    model = WINDOW.model(series, jax.random.key(0))
    assert model.memory == np.inf
    table = WINDOW.evaluate(WINDOW.deployed(model, series), series)
    values = standardised(series, 105)
    forecast = jax.jit(lambda xs: model(xs)[-1])
    alone = [
        (forecast(place[last + 1 - WINDOW.context : last + 1]), came.ravel())
        for place, last, came in windows(values, series, WINDOW.horizon)
    ]
    streamed = []
    for place in values:
        made = compiled(model, place[120 - WINDOW.context : 145])[WINDOW.context - 1 :]
        streamed += zip(made, [c.ravel() for _, _, c in windows(place[None], series, WINDOW.horizon)], strict=True)
    assert len(alone) == len(streamed) == 2 * 26
    assert_close(table["test"], errors(alone), rtol=1e-4)
    assert_close(table["test, one stream"], errors(streamed), rtol=1e-4)


def test_losses_of_windows_are_mean_squared_errors_of_their_last_forecasts(series, assert_close):
    model, arrays, values = WINDOW.model(series, jax.random.key(0)), WINDOW.arrays(series), standardised(series, 105)
    forecast = jax.jit(lambda xs: model(xs)[-1])
    pairs = [
        (forecast(place[last - 5 : last + 1]), place[last + 1 : last + 6, [2, 0]].ravel())
        for place in values
        for last in range(104, 115)
    ]
    assert_close(np.asarray(validation(WINDOW, model, arrays)), np.float64(errors(pairs)["MSE"]), rtol=1e-4)
    one = {"train": arrays["train"][:1, : WINDOW.context + WINDOW.horizon]}  # so that there is one window to choose
    made, came = forecast(values[0, :6]), values[0, 6:11, [2, 0]].T.ravel()
    assert_close(np.asarray(loss(WINDOW, model, one, jax.random.key(1))), np.mean((made - came) ** 2), rtol=1e-4)


def test_a_model_of_windows_is_saved(tmp_path, series):
    task = dataclasses.replace(WINDOW, csv=tmp_path / "some.csv")
    np.savetxt(task.csv, series.values[0], delimiter=",", header="a,b,c,d", comments="")
    tables = train(task, tmp_path / "run", progress=False).tables
    assert evaluate_run(tmp_path / "run") == (task, tables[0])


def months(values):
    """Two series with five observations in a month of 30 days."""
    return Series("some", values, ("a", "b"), 2, (0, 1), 1, "made up", 6 * 86400.0)


def test_the_split_of_ett_takes_12_4_and_4_months_and_no_more(normal, assert_close):
    task = dataclasses.replace(WINDOW, split="ett")
    data = months(normal("months", 1, 130, 2))
    longer = months(np.concatenate([data.values, np.full((1, 7, 2), 1e6)], 1))
    arrays, train = task.arrays(data), data.values[0, :60]
    expected = (data.values[0] - train.mean(0)) / train.std(0)
    np.testing.assert_allclose(arrays["train"][0], expected[:60], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(arrays["validation"][0], expected[60 - task.context : 80], rtol=1e-4, atol=1e-6)
    model = task.deployed(task.model(data, jax.random.key(0)), data)
    table = task.evaluate(model, data)
    last = [(np.tile(expected[t], (5, 1)), expected[t + 1 : t + 6]) for t in range(79, 95)]
    assert_close(table["last value"], errors(last), rtol=1e-4)
    assert task.evaluate(model, longer) == table


@pytest.mark.parametrize(
    ("length", "step", "message"),
    [
        (100, None, "split is 'ett', which counts months; some has no dates"),
        (99, 6 * 86400.0, "split is 'ett', for which 100 observations are needed, 20 months; some has 99"),
    ],
)
def test_a_series_without_20_months_has_no_split_of_ett(length, step, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(SMALL, split="ett").check_length(months(np.ones((1, length, 2)))._replace(step=step))


def test_a_file_without_header_is_read_if_the_settings_say_so(tmp_path):
    np.savetxt(tmp_path / "rates.txt.gz", np.arange(300.0).reshape(100, 3), delimiter=",")
    task = dataclasses.replace(SMALL, csv=tmp_path / "rates.txt.gz", header=False, target="1")
    data = task.load()
    assert (data.columns, data.targets, data.values.shape) == (("0", "1", "2"), (1,), (1, 100, 3))
    with pytest.raises(InputError, match="unless --no-header is given"):
        dataclasses.replace(task, header=True).load()


def test_losses_are_mean_absolute_errors(series, assert_close):
    """That of validation over all windows; that of training between its smallest and its largest error, and finite."""
    model = SMALL.model(series, jax.random.key(0))
    values = standardised(series, 105)
    forecast = jax.jit(lambda xs: model.forecasts_at(jnp.array([SMALL.context - 1]), xs)[0])
    pairs = [
        (forecast(place[last - 8 : last + 1]), place[last + 1 : last + 6, [2, 0]].ravel())
        for place in values
        for last in range(104, 115)
    ]
    arrays = SMALL.arrays(series)
    assert_close(np.asarray(validation(SMALL, model, arrays)), np.float64(errors(pairs)["MAE"]), rtol=1e-4)
    assert 0 < loss(SMALL, model, arrays, jax.random.key(1)) < 5


def test_a_constant_series_is_forecast(tmp_path):
    """And so are its metrics, finite."""
    (tmp_path / "flat.csv").write_text("a\n" + "1e4\n" * 100)
    task = dataclasses.replace(SMALL, csv=tmp_path / "flat.csv")
    data = task.load()
    table = task.evaluate(task.deployed(task.model(data, jax.random.key(0)), data), data)
    assert table["last value"] == {"MSE": 0, "MAE": 0}
    assert all(np.isfinite(x) for row in table.values() for x in row.values())


@pytest.mark.parametrize(("horizon", "fits"), [(15, True), (16, False)])
def test_a_horizon_that_is_too_long_is_refused_with_the_largest_that_fits(tmp_path, horizon, fits):
    """The validation part is the shortest here: 15 of 150."""
    (tmp_path / "some.csv").write_text("a\n" + "".join(f"{t}\n" for t in range(150)))
    task = dataclasses.replace(SMALL, csv=tmp_path / "some.csv", horizon=horizon)
    if fits:
        data = task.load()
        model, arrays = task.model(data, jax.random.key(0)), task.arrays(data)
        assert np.isfinite(validation(task, model, arrays))
        assert np.isfinite(loss(task, model, arrays, jax.random.key(1)))
        assert np.isfinite(task.evaluate(task.deployed(model, data), data)["test"]["MSE"])
    else:
        with pytest.raises(InputError, match=r"validation part of some has 15 observations; .* can be 15 at most"):
            task.load()


def test_a_look_back_longer_than_the_training_part_is_refused(tmp_path):
    (tmp_path / "some.csv").write_text("a\n" + "".join(f"{t}\n" for t in range(150)))
    task = dataclasses.replace(SMALL, csv=tmp_path / "some.csv", context=500)
    with pytest.raises(InputError, match="the training part of some has 0 observations after the first look-back"):
        task.load()


@pytest.mark.parametrize(("dataset", "season"), [("elecdemand", 336), ("eustock", 1), ("weather", 24)])
def test_every_data_set_has_a_model(dataset, season):
    task = Forecasting(dataset=dataset)
    data = task.load()
    assert (data.name, data.season) == (dataset, season)
    shapes = jax.eval_shape(lambda: task.deployed(task.model(data, jax.random.key(0)), data))
    assert (shapes.in_size, shapes.out_size) == (data.values.shape[2], 96 * len(data.targets))
    assert task.example(data).shape == (2 * task.context, shapes.in_size)
    assert all(np.all(np.isfinite(x)) for x in task.arrays(data).values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mixer": "mamba"}, "unknown mixer 'mamba'"),
        ({"dataset": "Nothing"}, "unknown dataset 'Nothing'; it must be one of elecdemand, eustock, weather"),
        ({"csv": Path("missing.csv")}, "missing.csv cannot be read"),
        ({"target": "DAX"}, "target is 'DAX', which is for --csv"),
        ({"header": False}, "header is False, which is for --csv"),
        ({"header": 0}, "header is 0; it must be of type bool"),
        ({"split": "60/20/20"}, "split is '60/20/20'; it must be 70/10/20 or ett"),
        ({"split": "ett"}, "split is 'ett', which counts months; eustock has no dates"),
        ({"protocol": "windows"}, "protocol is 'windows'; it must be stream or window"),
        ({"channels": "alone"}, "channels is 'alone'; it must be mixed or independent"),
        (
            {"channels": "independent", "dataset": "weather"},
            "channels is 'independent', .* not all of them are targets",
        ),
        ({"protocol": "window", "chunk": 8}, "chunk is 8, which takes the series in one piece"),
        ({"horizon": 0}, "horizon is 0"),
        ({"horizon": 1000}, "horizon is 1000, .* can be 186 at most"),
        ({"context": 0}, "context is 0"),
        ({"patch": -1}, "patch is -1"),
        ({"memory": 0.0}, "memory is 0"),
        ({"memory": float("nan")}, "memory is nan"),
        ({"memory": float("inf")}, "memory is inf"),
        ({"heads": 3}, "does not split into num_heads = 3"),
    ],
)
def test_bad_settings_leave_no_folder(tmp_path, change, message, unchecked):
    with pytest.raises(InputError, match=message):
        train(dataclasses.replace(SMALL, **{"dataset": "eustock"} | change), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("change", [{}, {"protocol": "window"}, {"chunk": 7}], ids=str)
def test_independent_series_are_forecast_from_their_own_past(series, change, assert_close):
    """And all by one function: series that are exchanged have their forecasts exchanged."""
    task = dataclasses.replace(SMALL, channels="independent", **change)
    data = series._replace(targets=(0, 1, 2))
    model, arrays = task.model(data, jax.random.key(0)), task.arrays(data)
    assert np.isfinite(loss(task, model, arrays, jax.random.key(1)))
    assert np.isfinite(validation(task, model, arrays))
    xs = standardised(data, 105)[0, :40].astype("float32")

    def forecasts(xs):
        return compiled(model, xs).reshape(40, task.horizon, 3)

    others = np.where(np.arange(4) == 1, 5 - xs, xs)
    assert_close(forecasts(others)[:, :, [0, 2]], forecasts(xs)[:, :, [0, 2]])
    assert np.all(forecasts(others)[:, :, 1] != forecasts(xs)[:, :, 1])
    assert_close(forecasts(xs[:, [1, 2, 0, 3]]), forecasts(xs)[:, :, [1, 2, 0]])


@pytest.mark.parametrize("chunk", [7, 1_000])
def test_one_piece_has_the_errors_of_a_stream(chunk, series):
    """Chunk by chunk, the mixer reads the whole part from its beginning, as a stream does."""
    task = dataclasses.replace(SMALL, chunk=chunk)
    model, arrays = task.model(series, jax.random.key(0)), task.arrays(series)
    part = arrays["validation"]
    first = model.lags + task.context - 1  # the first forecast that has its look-back
    ends = np.arange(first, part.shape[1] - task.horizon, task.EVERY)
    targets = part[:, :, np.array(model.targets)]
    stream, errors = jax.jit(lambda xs: model.forecasts_at(ends - model.lags, xs)), []
    for place, values in enumerate(part):
        streamed = stream(values)
        came = np.stack([targets[place, t + 1 : t + 1 + task.horizon].ravel() for t in ends])
        errors.append(np.abs(streamed - came))
    np.testing.assert_allclose(validation(task, model, arrays), np.mean(errors), rtol=1e-4)
    assert task.model_name == "aaren-one-piece"
    with pytest.raises(InputError, match="chunk is 0"):
        dataclasses.replace(task, chunk=0).check()
