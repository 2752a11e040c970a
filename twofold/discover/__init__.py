"""How to find attention inside networks: decompilation, nearest attention, pruning, fine-tuning, scores, polynomials."""

from .decompilation import Discovery, decompile
from .finetuning import Finetuned, finetune
from .nearest import NearestAttention, nearest_attention
from .normalisation import normalise
from .polynomials import collected, instantaneous_polynomials, monomials, polynomial_distance
from .pruning import Pruned, Removal, prune
from .scoring import Roles, Scores, neuron_roles, scores
from .shrinking import shrink

__all__ = [
    "Discovery",
    "Finetuned",
    "NearestAttention",
    "Pruned",
    "Removal",
    "Roles",
    "Scores",
    "collected",
    "decompile",
    "finetune",
    "instantaneous_polynomials",
    "monomials",
    "nearest_attention",
    "neuron_roles",
    "normalise",
    "polynomial_distance",
    "prune",
    "scores",
    "shrink",
]
