"""Attention and recurrent networks are two views of one computation; twofold lets you hold either."""

from . import convert as convert
from . import discover as discover
from . import layers as layers
from . import models as models
from . import scan as scan
from .deploy import Stream as Stream
from .errors import InputError as InputError
from .saving import load as load
from .saving import save as save

__version__ = "0.1.0"
