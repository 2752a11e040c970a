"""Recurrent networks into attention: decompilation, pruning, scores, polynomials."""

from .decompilation import Discovery as Discovery
from .decompilation import decompile as decompile
from .finetuning import Finetuned as Finetuned
from .finetuning import finetune as finetune
from .normalisation import normalise as normalise
from .polynomials import collected as collected
from .polynomials import instantaneous_polynomials as instantaneous_polynomials
from .polynomials import monomials as monomials
from .polynomials import polynomial_distance as polynomial_distance
from .pruning import prune as prune
from .scoring import Scores as Scores
from .scoring import neuron_roles as neuron_roles
from .scoring import scores as scores
