"""Recurrent networks into attention: decompilation, pruning, scores, polynomials."""

from .decompile import Discovery as Discovery
from .decompile import decompile as decompile
from .finetune import Finetuned as Finetuned
from .finetune import finetune as finetune
from .normalise import normalise as normalise
from .polynomials import collected as collected
from .polynomials import instantaneous_polynomials as instantaneous_polynomials
from .polynomials import monomials as monomials
from .polynomials import polynomial_distance as polynomial_distance
from .prune import prune as prune
from .scores import Scores as Scores
from .scores import neuron_roles as neuron_roles
from .scores import scores as scores
