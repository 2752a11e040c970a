"""The architecture of `SequenceModel` in PyTorch, and its training loop."""

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from torch import nn

from .torch_peers import causal_attention, quietly, tensor, torch
from .training_steps import Trainer


class Attention(nn.Module):
    """Causal attention without biases."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        names = "w_q", "w_k", "w_v", "w_o"
        self.weights = nn.ParameterDict({name: nn.Linear(width, width, bias=False).weight for name in names})
        self.heads = heads

    def forward(self, xs):
        return causal_attention(self.heads, self.weights, xs)


class Recurrent(nn.Module):
    """The outputs of an LSTM or a GRU."""

    def __init__(self, layer: Callable[..., nn.RNNBase], width: int, heads: int):
        super().__init__()
        self.layer = layer(width, width, batch_first=True)

    def forward(self, xs):
        return self.layer(xs)[0]


MIXERS: dict[str, Callable[[int, int], nn.Module]] = {
    "softmax-attention": Attention,
    "lstm": partial(Recurrent, nn.LSTM),
    "gru": partial(Recurrent, nn.GRU),
}
"""The mixers that PyTorch has: their modules from the width and the number of heads."""


class Block(nn.Module):
    def __init__(self, mixer: nn.Module, width: int):
        super().__init__()
        self.mixer_norm, self.feed_forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mixer = mixer
        self.expand, self.contract = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, xs):
        xs = xs + self.mixer(self.mixer_norm(xs))
        return xs + self.contract(F.gelu(self.expand(self.feed_forward_norm(xs)), approximate="tanh"))


class SequenceModel(nn.Sequential):
    def __init__(self, mixer: str, width: int, depth: int, heads: int):
        blocks = (Block(MIXERS[mixer](width, heads), width) for _ in range(depth))
        super().__init__(nn.Linear(width, width), *blocks, nn.LayerNorm(width), nn.Linear(width, width))


def trainer(
    make: Callable[[], nn.Module], data: tuple, steps: int, rate: float, decay: float, *, by_compiler: bool = False
) -> Trainer:
    """The training loop of a model. torch.compile compiles the model at the first step, so this step counts as compilation."""
    torch.manual_seed(0)
    model = make()
    xs, target = map(tensor, data)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay, fused=True)
    torch.compiler.reset()
    run = torch.compile(model, dynamic=False) if by_compiler else model

    def step():
        optimiser.zero_grad()
        loss = F.mse_loss(run(xs), target)
        loss.backward()
        optimiser.step()
        return loss.detach()

    if by_compiler:
        with quietly():
            step()
    return Trainer(lambda: [step() for _ in range(steps)], sum(x.numel() for x in model.parameters()))
