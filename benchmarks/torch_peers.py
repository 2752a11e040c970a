"""The contestants from PyTorch. They take whole batches, with time as the second axis."""

import os
import warnings
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from .contestants import Contestant, Run, Task, Which
from .gates import gru_order, gru_order_back, lstm_order, lstm_order_back

torch.set_num_threads(os.cpu_count() or 1)
torch.compiler.config.force_disable_caches = True  # A cache from an earlier process would make compilation look short.
CHUNK = 64


def plain(name: str, function: Callable, **more) -> Contestant:
    """A contestant without torch.compile."""
    return Contestant(f"PyTorch, {name}", function, with_torch, **more)


def both(name: str, function: Callable, *, compiled: bool, **more) -> list[Contestant]:
    """Two contestants: one without torch.compile and, if `compiled`, one with it."""
    by_compiler = Contestant(f"PyTorch, {name}, torch.compile", function, with_compiler, **more)
    return [plain(name, function, **more), *([by_compiler] if compiled else [])]


def with_torch(contestant: Contestant, own: dict, task: Task, which: Which) -> Run:
    return _run(contestant.function, contestant, own, task, which)


def with_compiler(contestant: Contestant, own: dict, task: Task, which: Which) -> Run:
    """As `with_torch`, with torch.compile. It compiles at the first call, so this call counts as compilation."""
    torch.compiler.reset()
    run = _run(torch.compile(contestant.function, dynamic=False), contestant, own, task, which)
    with quietly():
        run.turn()
    return run


def quietly() -> warnings.catch_warnings:
    """Keep torch.compile from warning of the caches that are disabled above."""
    return warnings.catch_warnings(action="ignore")


def _run(function: Callable, contestant: Contestant, own: dict, task: Task, which: Which) -> Run:
    parameters = {name: tensor(x) for name, x in own.items()}
    data = [tensor(x) for x in task.data]
    random = tensor(np.conj(task.random))

    def forward():
        with torch.no_grad():
            return function(parameters, *data), ()

    def gradient():
        out = function(parameters, *data)
        return out.detach(), torch.autograd.grad(out, list(parameters.values()), task.cotangent(out.detach(), random))

    def read(results):
        out, gradients = results
        # PyTorch's gradient in a complex number is the conjugate of JAX's.
        named = {name: x.resolve_conj().numpy().conj() for name, x in zip(parameters, gradients, strict=False)}
        return {"out": out.numpy()} | (contestant.gradients(named) if which == "gradient" else {})

    for parameter in parameters.values():
        parameter.requires_grad_(which == "gradient")
    return Run(forward if which == "forward" else gradient, read)


def tensor(x) -> torch.Tensor:
    return torch.from_numpy(np.array(x))


def softmax_cumsum(parameters):
    """Subtract the largest score of the whole sequence. This loses digits where all scores of a prefix are much smaller."""
    scores, values = parameters["scores"], parameters["values"]
    weights = torch.exp(scores - scores.amax(1, keepdim=True))
    return torch.cumsum(weights[..., None] * values, 1) / torch.cumsum(weights, 1)[..., None]


def linear_loop(parameters):
    a, b = parameters["a"], parameters["b"]
    decays = a.unbind(1) if a.ndim == b.ndim else [a] * b.shape[1]
    h, states = torch.zeros_like(b[:, 0]), []
    for a_t, b_t in zip(decays, b.unbind(1), strict=True):
        h = a_t * h + b_t
        states.append(h)
    return torch.stack(states, 1)


def linear_doubling(parameters):
    """log2(time) passes. After each pass, every state covers twice as many tokens."""
    a, h = parameters["a"], parameters["b"]
    known = 1
    while known < h.shape[1]:
        h = torch.cat([h[:, :known], h[:, known:] + (a[:, known:] if a.ndim > 1 else a) * h[:, :-known]], 1)
        a = torch.cat([a[:, :known], a[:, known:] * a[:, :-known]], 1) if a.ndim > 1 else a * a
        known *= 2
    return h


def kv_chunks(parameters):
    q, k, v = (parameters[name].transpose(1, 2).unflatten(2, (-1, CHUNK)) for name in "qkv")
    states = k.transpose(-1, -2) @ v
    before = torch.cumsum(states, 2) - states
    out = torch.tril(q @ k.transpose(-1, -2)) @ v + q @ before
    return out.flatten(2, 3).transpose(1, 2)


def attention(parameters):
    q, k, v = (parameters[name].transpose(1, 2) for name in "qkv")
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)


def causal_attention(heads: int, parameters, xs):
    """Multi-head attention around `scaled_dot_product_attention`."""
    q, k, v = ((xs @ parameters[name].T).unflatten(2, (heads, -1)).transpose(1, 2) for name in ("w_q", "w_k", "w_v"))
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return out.transpose(1, 2).flatten(2) @ parameters["w_o"].T


def linear_attention(parameters, xs):
    names = {"q": "w_q", "k": "w_k", "v": "w_v"}
    projected = {name: torch.einsum("hri,nti->nthr", parameters[w], xs) for name, w in names.items()}
    return kv_chunks(projected).sum(2)


def lstm(width: int) -> Contestant:
    layer = nn.LSTM(width, width, batch_first=True)
    return plain("LSTM", _called(layer), parameters=lstm_parameters, gradients=lstm_weights)


def gru(width: int) -> Contestant:
    layer = nn.GRU(width, width, batch_first=True)
    return plain("GRU", _called(layer), parameters=gru_parameters, gradients=gru_weights)


def _called(layer: nn.RNNBase) -> Callable:
    return lambda parameters, xs: functional_call(layer, parameters, (xs,))[0]


def lstm_parameters(weights):
    u, v, b = (lstm_order(weights[name]) for name in "uvb")
    return {"weight_ih_l0": u, "weight_hh_l0": v, "bias_ih_l0": b, "bias_hh_l0": np.zeros_like(b)}


def lstm_weights(parameters):
    names = {"u": "weight_ih_l0", "v": "weight_hh_l0", "b": "bias_ih_l0"}
    return {name: lstm_order_back(parameters[theirs]) for name, theirs in names.items()}


def gru_parameters(weights):
    u, v, b = (gru_order(weights[name]) for name in "uvb")
    within = np.concatenate([np.zeros_like(b)[: -len(weights["b_n"])], weights["b_n"]])
    return {"weight_ih_l0": u, "weight_hh_l0": v, "bias_ih_l0": b, "bias_hh_l0": within}


def gru_weights(parameters):
    names = {"u": "weight_ih_l0", "v": "weight_hh_l0", "b": "bias_ih_l0"}
    moved = {name: gru_order_back(parameters[theirs]) for name, theirs in names.items()}
    return moved | {"b_n": np.split(parameters["bias_hh_l0"], 3)[2]}
