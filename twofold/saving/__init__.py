"""Models in files. The folder of a model has `config.json`, which describes the model, and `model.safetensors` with its arrays.

There is no pickle, so loading a model runs no code from its files.
"""

from .arrays import named_leaves as named_leaves
from .arrays import with_named_leaves as with_named_leaves
from .model import fingerprint as fingerprint
from .model import load as load
from .model import load_with_state as load_with_state
from .model import save as save
from .model import save_with_state as save_with_state
