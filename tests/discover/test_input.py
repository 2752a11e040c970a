"""What the functions of discover cannot analyse is an `InputError` that says what they take."""

import jax
import pytest

from twofold import InputError, discover
from twofold.layers import LRU, LSTM, Aaren, GatedRNN, LinearSelfAttention

KEY = jax.random.key(0)
ATTENTION = LinearSelfAttention(2, 2, key=KEY)
FUNCTIONS = {
    "decompile": discover.decompile,
    "prune": discover.prune,
    "normalise": discover.normalise,
    "neuron_roles": discover.neuron_roles,
    "finetune": lambda rnn: discover.finetune(rnn, ATTENTION),
    "scores": lambda rnn: discover.scores(rnn, ATTENTION),
}
every_function = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
pytestmark = pytest.mark.usefixtures("unchecked")


@every_function
@pytest.mark.parametrize("kind", [LSTM, LRU, Aaren, LinearSelfAttention])
def test_other_layers_are_refused(function, kind):
    with pytest.raises(InputError, match=rf"a {kind.__name__} has no neurons.*only a GatedRNN"):
        function(kind(2, 2, key=KEY))


@every_function
def test_a_dense_recurrence_is_refused(function):
    with pytest.raises(InputError, match="dense recurrence"):
        function(GatedRNN(2, 2, recurrence="dense", key=KEY))
