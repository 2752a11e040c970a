"""Names that have moved are still found where they were, and say where they are now."""

import pytest

from twofold import layers, models


@pytest.mark.parametrize("name", ["EventModel", "Forecaster", "SequenceModel", "event_features"])
def test_a_model_is_found_among_the_layers_with_a_warning(name):
    with pytest.warns(DeprecationWarning, match=rf"twofold\.models\.{name}"):
        assert getattr(layers, name) is getattr(models, name)


def test_other_names_are_missing_as_ever():
    with pytest.raises(AttributeError, match="no attribute 'Mamba'"):
        _ = layers.Mamba
