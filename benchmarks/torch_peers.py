"""PyTorch's contestants. They take whole batches, time second."""

import os
import warnings
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from torch.func import functional_call

from .contestants import Contestant, Run, Task, Which

torch.set_num_threads(os.cpu_count() or 1)
torch.compiler.config.force_disable_caches = True  # An earlier process's work would be reported as a short compilation.
CHUNK = 64


def plain(name: str, function: Callable, **more) -> Contestant:
    return Contestant(f"PyTorch, {name}", function, with_torch, **more)


def compiled(name: str, function: Callable, **more) -> Contestant:
    return Contestant(f"PyTorch, {name}, compiled", function, with_compiler, **more)


def with_torch(contestant: Contestant, task: Task, which: Which) -> Run:
    return _run(contestant.function, contestant, task, which)


def with_compiler(contestant: Contestant, task: Task, which: Which) -> Run:
    """`torch.compile` works at the first call, which therefore counts as compilation."""
    torch.compiler.reset()
    run = _run(torch.compile(contestant.function, dynamic=False), contestant, task, which)
    with warnings.catch_warnings(action="ignore"):  # It tells of the caches that were disabled above.
        run.turn()
    return run


def _run(function: Callable, contestant: Contestant, task: Task, which: Which) -> Run:
    parameters = {name: _tensor(x) for name, x in contestant.parameters(task.parameters).items()}
    data = [_tensor(x) for x in task.data]
    random = _tensor(jnp.conj(task.random))

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


def _tensor(x) -> torch.Tensor:
    return torch.from_numpy(np.array(x))


def softmax_cumsum(parameters):
    """Of the whole sequence's largest score: exact only while no prefix is all but lost beside it."""
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
    """log2(time) passes: after each, a state knows twice as many tokens."""
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


def causal_attention(heads: int, parameters, xs):
    """Multi-head attention around `scaled_dot_product_attention`."""
    q, k, v = ((xs @ parameters[name].T).unflatten(2, (heads, -1)).transpose(1, 2) for name in ("w_q", "w_k", "w_v"))
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return out.transpose(1, 2).flatten(2) @ parameters["w_o"].T
