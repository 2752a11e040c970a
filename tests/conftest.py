"""Settings and laws that all tests share: float64 references, checked shapes, closeness, gradients, memory.

The tests run in two ways. By default float64 is on for the references, types and shapes are checked at run time, and XLA
compiles quickly rather than well. With `pytest --plain` nothing is set: tests then run as users do, in float32, with XLA's
own settings, and without checks.
"""

import gc
import os
import signal
import warnings
from itertools import count, pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from hypothesis import settings
from jax import lax


def pytest_addoption(parser):
    parser.addoption(
        "--plain", action="store_true", help="run as users do: float32, XLA's defaults, no checks of types"
    )


def pytest_configure(config):
    # Shells start what runs in the background without it, and tests send it to processes of their own.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # The command's own processes read and write no programs of earlier ones, except where a test asks for it.
    os.environ.setdefault("JAX_ENABLE_COMPILATION_CACHE", "false")
    jax.config.update("jax_enable_compilation_cache", False)
    os.environ.setdefault("XDG_CACHE_HOME", str(config.rootpath / ".pytest_cache" / "user"))
    if config.getoption("--plain"):
        return
    # Compiled quickly rather than well: most of the time of the tests is XLA's. The same operations in the same order.
    os.environ.setdefault(
        "XLA_FLAGS",
        "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
        " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
        " --xla_force_host_platform_device_count=8",  # so that what is sharded is sharded
    )
    # The workers of pytest take the cores. More threads, of NumPy's BLAS, would spin there waiting for each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    jax.config.update("jax_enable_x64", True)  # For the references; every test names the dtype it gives to twofold.
    jaxtyping.install_import_hook("twofold", "beartype.beartype")  # Stays installed: twofold is imported after this.


settings.register_profile("twofold", deadline=None, derandomize=True, max_examples=15)  # Each new shape is compiled.
settings.load_profile("twofold")


@pytest.fixture(scope="module", autouse=True)
def collected():
    """What a module leaves, programs above all, is looked at once: each later pass of the collector would take longer."""
    gc.set_threshold(100_000, 20)
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture
def unchecked(monkeypatch):
    """Switches the runtime checks of jaxtyping off, as they are for users: the errors are then twofold's own."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def getkey():
    """`getkey()` is a new random key, the same in every run of the test."""
    seeds = count()
    return lambda: jax.random.key(next(seeds))


@pytest.fixture(scope="session")
def normal():
    """`normal(name, *shape, dtype=...)`: normal numbers, always the same for the same name and shape."""

    def draw(name, *shape, dtype=np.float64):
        rng = np.random.default_rng(list(name.encode()))
        numbers = rng.normal(size=shape)
        if np.issubdtype(dtype, np.complexfloating):
            numbers = numbers + 1j * rng.normal(size=shape)
        return np.asarray(numbers, dtype)

    return draw


@pytest.fixture(scope="session")
def assert_close():
    """`assert_close(actual, expected)`: leaf by leaf, no error above `rtol` times the largest value, or the floor."""

    def check(actual, expected, rtol=None):
        actual, expected = _settled(actual), _settled(expected)
        assert jax.tree.structure(actual) == jax.tree.structure(expected)
        for x, y in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
            x, y = np.asarray(x), np.asarray(y)
            assert x.shape == y.shape
            allowed = rtol or (1e-5 if x.dtype in (np.float32, np.complex64) else 1e-12)
            error, largest = np.max(np.abs(x - y), initial=0), np.max(np.abs(y), initial=0)
            assert error <= allowed * (largest + 0.01), f"off by {error:.1e}, largest value {largest:.1e}"

    return check


def _settled(tree):
    """The tree with its softmax states as (m, c, o): what rounding left out of c and o depends on the order of sums."""
    from twofold.scan import SoftmaxState  # not before types are checked

    def settled(x):
        if not isinstance(x, SoftmaxState):
            return x
        m, c, o, c_rest, o_rest = map(np.asarray, x)
        return m, c + c_rest, o + o_rest

    return jax.tree.map(settled, tree, is_leaf=lambda x: isinstance(x, SoftmaxState))


def _second_is_other(*args):
    return jax.tree.map(lambda x: jnp.stack([x, 2 * x]), args)


TRANSFORMS = {
    "vmap": lambda f: jax.jit(lambda *args: jax.vmap(f)(*_second_is_other(*args))[0]),
    "checkpoint": lambda f: jax.jit(jax.checkpoint(f)),
    "scan": lambda f: jax.jit(lambda *args: lax.scan(lambda _, x: (None, f(*x)), None, _second_is_other(*args))[1][0]),
}


@pytest.fixture(params=TRANSFORMS)
def transform(request):
    """Each of JAX's transforms in turn, under jit, as a function from a function to one of equal values."""
    return TRANSFORMS[request.param]


def _gradient(f):
    return lambda *args: jax.grad(f, argnums=tuple(range(len(args))))(*args)


def _square(tree):
    return sum(jnp.vdot(x, x).real for x in jax.tree.leaves(tree))


@pytest.fixture(scope="session")
def same_gradients(normal, assert_close):
    """`same_gradients(scan, oracle, *args)`: a random cotangent on all outputs, the same gradients of all args."""

    def check(scan, oracle, *args, transform=jax.jit, order=1):
        def loss(f):
            def pull(*args):
                outputs = enumerate(jax.tree.leaves(f(*args)))
                return sum(jnp.sum(normal(f"pull {i}", *x.shape, dtype=x.dtype) * x).real for i, x in outputs)

            return pull if order == 1 else lambda *args: _square(_gradient(pull)(*args))

        actual, expected = _gradient(transform(loss(scan)))(*args), jax.jit(_gradient(loss(oracle)))(*args)
        assert_close(actual, expected)
        assert [x.dtype for x in jax.tree.leaves(actual)] == [x.dtype for x in jax.tree.leaves(args)]

    return check


@pytest.fixture(scope="session")
def segments_are_independent(assert_close):
    """`segments_are_independent(scan, *tokens, lengths=..., poisoned=...)`: in a packed sequence each segment has the
    outputs and gradients that it has alone, and the last leaves its state, even if the second is all NaN and inf.

    `scan(*tokens, resets)` returns the last state and the outputs. The loss is over all outputs, the bad ones too.
    """

    def check(scan, *tokens, lengths, poisoned):
        @jax.jit
        def results(tokens, resets):
            def loss(tokens):
                state, out = scan(*tokens, resets)
                return _square(out), (out, state)

            gradients, (out, state) = jax.grad(loss, has_aux=True)(tokens)
            return (out, gradients), state

        bounds = np.cumsum([0, *lengths])
        segments = [slice(*pair) for pair in pairwise(bounds)]
        packed = [x.copy() for x in tokens]
        if poisoned:
            for x in packed:
                x[segments[1], 0], x[segments[1], 1] = np.nan, np.inf
        together, state = results(packed, np.isin(np.arange(bounds[-1]), bounds))
        for segment in segments[:1] + segments[1 + poisoned :]:
            alone, state_alone = results([x[segment] for x in tokens], None)
            assert_close(jax.tree.map(lambda x, segment=segment: x[segment], together), alone)
        assert_close(state, state_alone)

    return check


@pytest.fixture(scope="session")
def temporary_bytes():
    """`temporary_bytes(f, *shapes)`: what XLA allocates beside arguments and results, for float32 arguments."""

    def measure(f, *shapes):
        args = [jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes]
        return jax.jit(f).lower(*args).compile().memory_analysis().temp_size_in_bytes

    return measure


@pytest.fixture(scope="session")
def threads():
    """Two workers for sweeps, as threads of this process, which see what a test puts in place of functions."""
    from distributed import LocalCluster  # here, because few tests need it

    from twofold.train.sweep import Workers

    with LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster:
        yield Workers(scheduler=cluster.scheduler_address)


@pytest.fixture(scope="session")
def write_control():
    """`write_control(folder, **changes)`: a data set of Minari, of six episodes of the inverted pendulum, at folder/small-v0.

    `changes` are fields of the first episode, or the `env` and the spaces of the whole.
    """

    def write(folder, *, count=6, env="InvertedPendulum-v5", **changes):
        from minari import create_dataset_from_buffers  # here, because it takes a second to import
        from minari.data_collector import EpisodeBuffer

        rng, buffers = np.random.default_rng(0), []
        spaces = {name: changes.pop(name) for name in ("observation_space", "action_space") if name in changes}
        for i in range(count):
            steps, over = 5 + 4 * i, np.zeros(5 + 4 * i, bool)
            observations = rng.normal(size=(steps + 1, 4))
            fields = {
                "observations": observations,
                "actions": np.tanh(observations[:-1, :1]),
                "rewards": 1 + rng.random(steps),
            }
            fields |= {"terminations": over, "truncations": np.arange(steps) == steps - 1} | (changes if i == 0 else {})
            buffers.append(EpisodeBuffer(**fields))
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Minari wants authors
            patch.setenv("MINARI_DATASETS_PATH", str(folder))
            create_dataset_from_buffers("small-v0", buffers, env=env, **spaces)
        return folder / "small-v0"

    return write


@pytest.fixture
def pictures(monkeypatch):
    """The figures of matplotlib that are saved during the test, by the names of their files."""
    from matplotlib.figure import Figure  # here, because it takes a second to import

    saved, savefig = {}, Figure.savefig

    def save(figure, file, **options):
        savefig(figure, file, **options)
        saved[Path(file).name] = figure

    monkeypatch.setattr(Figure, "savefig", save)
    return saved


@pytest.fixture(scope="session")
def lines_of():
    """`lines_of(axes)`: the (x, y) of each line that is drawn there, as lists, by the label."""

    def read(axes):
        return {line.get_label(): tuple(np.asarray(x).tolist() for x in line.get_data()) for line in axes.lines}

    return read
