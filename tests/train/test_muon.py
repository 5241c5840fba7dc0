"""Muon: updates of matrices are orthogonal, all else is SGD."""

from __future__ import annotations

import pytest
import torch

from loop.train.backbone import build
from loop.train.muon import COEFFICIENTS, STEPS, Muon, orthogonal


def small():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 3, bias=False),
        torch.nn.BatchNorm2d(6),
        torch.nn.Conv2d(6, 6, 3),
        torch.nn.Conv2d(6, 6, 3, groups=6),
        torch.nn.Flatten(),
        torch.nn.Linear(24, 2),
    )


def learn(net, optimiser, steps):
    images = torch.randn((steps, 8, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    for batch in images:
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(batch), torch.arange(8) % 2).backward()
        optimiser.step()


@pytest.mark.parametrize("shape", [(2, 16, 40), (2, 40, 16), (1, 8, 8)])
def test_orthogonal_as_timm_computes_it(shape):
    from timm.optim.muon import zeropower_via_newtonschulz

    given = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    orthogonalised = orthogonal(given)
    coefficients = [COEFFICIENTS] * STEPS
    wanted = zeropower_via_newtonschulz(given, STEPS, coefficients, dtype=torch.float32)
    torch.testing.assert_close(orthogonalised, wanted, rtol=1e-4, atol=1e-5)


def test_singular_values_come_near_one_whatever_they_were():
    generator = torch.Generator().manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn((1, 12, 30), generator=generator), full_matrices=False)
    given = u @ torch.diag(torch.logspace(0, -1, 12))[None] @ v
    values = torch.linalg.svdvals(orthogonal(1e3 * given))
    assert 0.5 < values.min() < values.max() < 1.3
    assert orthogonal(torch.zeros(1, 4, 4)).abs().max() == 0


def test_which_weights_are_matrices():
    net = small()
    names = {id(p): name for name, p in net.named_parameters()}
    groups = Muon(net, 0.1, 0, False, 0.9).param_groups
    rest, matrices = ([names[id(p)] for p in group["params"]] for group in groups)
    assert matrices == ["0.weight", "2.weight"]  # not the depthwise filters, not the last layer
    assert sorted(rest + matrices) == sorted(names.values())


@pytest.mark.parametrize("model", ["resnet18", "timm:test_vit", "timm:test_resnet"])
def test_every_weight_of_a_network_learns_once(model):
    net = build(model, 5)
    groups = Muon(net, 0.1, 0, False, 0.9).param_groups
    learned = [id(p) for group in groups for p in group["params"]]
    assert sorted(learned) == sorted(id(p) for p in net.parameters())
    assert len(groups[1]["params"]) > 5


def test_a_step():
    net = small()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimiser = Muon(net, 0.1, 0.01, False, 0.9)
    learn(net, optimiser, 1)
    moved = {name: before[name] - p.detach() for name, p in net.named_parameters()}
    update = moved["2.weight"] / 0.1 - 0.01 * before["2.weight"]
    values = torch.linalg.svdvals(update.flatten(1))
    assert 0.3 < values.min() < values.max() < 1.3


def test_what_is_not_a_matrix_learns_as_in_sgd():
    ours, theirs = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    theirs.load_state_dict(ours.state_dict())
    muon = Muon(ours, 0.1, 1e-3, False, 0.9)  # its one layer is the last
    sgd = torch.optim.SGD(
        theirs.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3
    )
    for _ in range(3):
        for net, optimiser in ((ours, muon), (theirs, sgd)):
            optimiser.zero_grad()
            net(torch.arange(8.0).reshape(2, 4)).square().sum().backward()
            optimiser.step()
    torch.testing.assert_close(ours.weight, theirs.weight)


def test_goes_on_from_its_state():
    whole, parts = small(), small()
    learn(whole, Muon(whole, 0.1, 0, False, 0.9), 4)
    first = Muon(parts, 0.1, 0, False, 0.9)
    images = torch.randn((4, 8, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    for number, batch in enumerate(images):
        if number == 2:
            state = first.state_dict()
            first = Muon(parts, 0.1, 0, False, 0.9)
            first.load_state_dict(state)
        first.zero_grad()
        torch.nn.functional.cross_entropy(parts(batch), torch.arange(8) % 2).backward()
        first.step()
    for in_one_go, resumed in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(in_one_go, resumed, rtol=0, atol=0)
