"""The public interface: the names that users may rely on, pinned, and what each of them promises."""

import dataclasses
import importlib
import inspect
import typing

import equinox as eqx
import pytest

import twofold
from twofold.layers import Layer

PUBLIC = {
    "twofold": """InputError Stream convert discover keep_memory layers load models save scan""",
    "twofold.scan": """Implementation LSTMState SoftmaxState causal_attention decaying_softmax_scan gru_scan implementations
        kv_scan linear_scan lstm_scan softmax_fold softmax_scan""",
    "twofold.layers": """Aaren Block CausalSelfAttention Chunked GRU GatedRNN KVCache LRU LSTM Layer LinearSelfAttention MIXERS
        MinGRU MinLSTM Mixer Rescaled RunningMean Stack""",
    "twofold.models": """BareModel ChannelIndependent EventModel Forecaster ForecasterState Policy SequenceModel
        TimedEvents event_features policy_features""",
    "twofold.convert": """Converted FORMS to_gated_rnn to_gru to_lru to_lstm""",
    "twofold.discover": """Discovery Finetuned NearestAttention Pruned Removal Roles Scores collected decompile finetune
        instantaneous_polynomials monomials nearest_attention neuron_roles normalise polynomial_distance prune scores
        shrink""",
    "twofold.data": """ControlSet Episodes EventSequences EventSet Forecasts Hawkes LabelledSet PointProcess Recording Sequences
        Series Sinusoidal load_control load_events load_flights load_labelled""",
    "twofold.deploy": """AeonClassifier KeyedStream OnnxKeyedStream OnnxStream SequenceClassifier SeriesForecaster Store
        Stream export_onnx""",
    "twofold.train": """Checkpoint Trained fit join_processes kept mesh_of over_batch""",
    "twofold.tasks": """ActionWords Batch ClassWords Classification Control EventWords Events ForecastWords Forecasting Run
        TASKS Task Windows Words evaluate_run train""",
}
"""The names of each public package. A change here is a change of the interface: tell it in CHANGELOG.md."""
PACKAGES = {name: importlib.import_module(name) for name in PUBLIC}
EVERYTHING = {
    f"{package}.{name}": getattr(module, name) for package, module in PACKAGES.items() for name in module.__all__
}
CALLABLES = {name: thing for name, thing in EVERYTHING.items() if inspect.isfunction(thing) or inspect.isclass(thing)}
LAYERS = {name: thing for name, thing in CALLABLES.items() if inspect.isclass(thing) and issubclass(thing, Layer)}
EXPORTED = [thing for thing in EVERYTHING.values() if inspect.isclass(thing)]


@pytest.mark.parametrize("package", PUBLIC)
def test_the_names_are_these(package):
    assert sorted(PACKAGES[package].__all__) == sorted(PUBLIC[package].split())


@pytest.mark.parametrize("name", CALLABLES)
def test_every_function_and_class_says_what_it_does(name):
    own = vars(CALLABLES[name]).get("__doc__") if inspect.isclass(CALLABLES[name]) else CALLABLES[name].__doc__
    assert own
    assert not own.startswith(f"{name.rpartition('.')[2]}(")  # what dataclasses write by themselves


def types_in(annotation):
    """All classes of twofold that an annotation names, at any depth."""
    if inspect.isclass(annotation) and annotation.__module__.split(".")[0] == "twofold":
        yield annotation
    for part in typing.get_args(annotation):
        yield from types_in(part)


def functions_of(thing):
    if inspect.isfunction(thing):
        return [thing]
    methods = inspect.getmembers(thing, inspect.isfunction)
    return [method for name, method in methods if name == "__init__" or not name.startswith("_")]


@pytest.mark.parametrize("name", CALLABLES)
def test_signatures_name_public_types_alone(name):
    for function in functions_of(CALLABLES[name]):
        try:
            hints = typing.get_type_hints(inspect.unwrap(function))
        except NameError:  # a type that is imported for the type checker alone, such as a table of pandas
            continue
        for annotation in hints.values():
            hidden = {kind.__name__ for kind in types_in(annotation) if kind not in EXPORTED}
            assert not hidden, f"{function.__qualname__} names {hidden}, which no public package exports"


@pytest.mark.parametrize("name", LAYERS)
def test_constructors_document_each_argument(name):
    if inspect.isabstract(LAYERS[name]):
        return
    text = f"{LAYERS[name].__doc__} {LAYERS[name].__init__.__doc__}"
    for argument, parameter in inspect.signature(LAYERS[name]).parameters.items():
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            assert f"`{argument}`" in text, f"{name} does not say what {argument} is"


@pytest.mark.parametrize("name", LAYERS)
def test_layers_that_make_arrays_take_a_dtype(name):
    parameters = inspect.signature(LAYERS[name]).parameters
    if "key" in parameters:
        assert "dtype" in parameters


def test_fields_of_layers_are_documented_by_their_shapes():
    """Every array that a layer holds is annotated with its shape; a bare `Array` says nothing."""
    for kind in LAYERS.values():
        for field in dataclasses.fields(kind) if issubclass(kind, eqx.Module) else ():
            assert "Array" not in str(field.type) or "[" in str(field.type), f"{kind.__name__}.{field.name}"


def test_the_version_is_that_of_the_installation():
    from importlib.metadata import version

    assert twofold.__version__ == version("twofold")
