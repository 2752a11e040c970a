"""How to find attention inside recurrent networks: decompilation, pruning, fine-tuning, scores, polynomials."""

from .decompilation import Discovery, decompile
from .finetuning import Finetuned, finetune
from .normalisation import normalise
from .polynomials import collected, instantaneous_polynomials, monomials, polynomial_distance
from .pruning import Pruned, Removal, prune
from .scoring import Roles, Scores, neuron_roles, scores
from .shrinking import shrink

__all__ = [
    "Discovery",
    "Finetuned",
    "Pruned",
    "Removal",
    "Roles",
    "Scores",
    "collected",
    "decompile",
    "finetune",
    "instantaneous_polynomials",
    "monomials",
    "neuron_roles",
    "normalise",
    "polynomial_distance",
    "prune",
    "scores",
    "shrink",
]
