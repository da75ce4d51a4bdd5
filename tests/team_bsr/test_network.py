"""The training network: merged, branch by branch, and fused into the deploy class."""

import pytest
import torch
from torch import nn

from models.team03_PFDNLite import PFDNLite
from team_bsr.network import TrainingPFDNLite, network_of_weights, reparameterize, training_form
from tests.rounding import rounding

STAGES = {"stage1": (), "stage2": (2, 3)}
# From input to output of the branches: 54 convolutions of at most 9 x 96 products.
ADDITIONS = 54 * 9 * 96


def random_network(pruned_blocks=(), multi_branch=False) -> TrainingPFDNLite:
    """A network with random weights and biases whose output is far from the anchor."""
    torch.manual_seed(1)
    network = TrainingPFDNLite(pruned_blocks=pruned_blocks, multi_branch=multi_branch)
    for parameter in network.parameters():
        fan_in = max(1, parameter[0].numel()) if parameter.ndim > 1 else 4
        nn.init.normal_(parameter, std=fan_in**-0.5)
    return network


def num_params(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("stage", "training", "fused"), [("stage1", 945_872, 249_488), ("stage2", 899_504, 218_288)])
def test_counts(stage, training, fused):
    network = TrainingPFDNLite(pruned_blocks=STAGES[stage])
    assert (num_params(network), num_params(reparameterize(network))) == (training, fused)


@pytest.mark.parametrize("stage", STAGES)
def test_merged_equals_branches_in_output_and_in_every_gradient(stage):
    merged = random_network(STAGES[stage]).double().train()
    branches = TrainingPFDNLite(pruned_blocks=STAGES[stage], multi_branch=True).double().train()
    branches.load_state_dict(merged.state_dict())
    x, target = torch.rand(2, 3, 19, 26, dtype=torch.float64), torch.rand(2, 3, 76, 104, dtype=torch.float64)
    outputs = []
    for network in (merged, branches):
        outputs.append(network(x))
        (outputs[-1] - target).square().mean().backward()
    assert (outputs[0] - outputs[1]).abs().max() < 1e-10
    for (name, a), b in zip(merged.named_parameters(), branches.parameters(), strict=True):
        assert (a.grad - b.grad).abs().max() < 1e-10, name
        assert a.grad.abs().max() > 0, name


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("size", [(7, 7), (9, 31), (40, 17)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_fused_equals_unfused_at_every_pixel(stage, size, dtype):
    network = random_network(STAGES[stage], multi_branch=True).to(dtype).eval()
    x = torch.rand(1, 3, *size, dtype=dtype)
    with torch.no_grad():
        expected = network(x)
        difference = (reparameterize(network).eval()(x) - expected).abs()
    anchor = x.repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert (expected - anchor).std() > 0.1
    assert difference.max() < rounding(dtype, ADDITIONS, expected.abs().max().item())


def test_fusing_is_pure_and_gives_the_deploy_class_in_the_network_s_type():
    network = random_network(STAGES["stage2"])
    before = {key: value.clone() for key, value in network.state_dict().items()}
    deploy = reparameterize(network)
    assert type(deploy) is PFDNLite
    assert deploy.head.weight.dtype == torch.float32
    assert deploy.state_dict().keys() == PFDNLite().state_dict().keys()
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])
    deploy.head.weight.data.zero_()
    assert torch.equal(network.head.weight, before["head.weight"])


def test_a_new_network_starts_near_its_anchor_and_lets_every_parameter_learn():
    torch.manual_seed(0)
    network = TrainingPFDNLite()
    x = torch.rand(2, 3, 24, 24)
    anchor = x.repeat_interleave(4, 2).repeat_interleave(4, 3)
    out = network(x)
    assert (out - anchor).abs().mean() < 0.05
    (out - torch.rand_like(out)).abs().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_a_new_network_s_start_by_value():
    torch.manual_seed(0)
    network = TrainingPFDNLite()
    biases = {name: value for name, value in network.named_parameters() if name.endswith("bias")}
    ones = {f"block{number}.attn.body.3.bias" for number in (1, 2, 3, 4)}
    for name, bias in biases.items():
        expected = torch.ones_like(bias) if name in ones else torch.zeros_like(bias)
        if name == "head.bias":
            expected[0] = 1
        assert torch.equal(bias, expected), name
    # A tenth of PyTorch's uniform start within 1 / sqrt(48 * 9).
    assert 0.0045 < network.tail[0].weight.abs().max() <= 0.1 / 432**0.5
    assert torch.equal(network.block1.conv3[0].weight, torch.eye(48)[..., None, None])


def test_features_start_sixteen_times_larger_and_a_step_moves_head_and_tail_by_as_much_more_and_less():
    torch.manual_seed(0)
    network = TrainingPFDNLite()
    before = reparameterize(network)
    # Uniform within 16 / sqrt(3 * 9), of 1296 weights; within a tenth of 1 / sqrt(48 * 9), over 16, of 20736.
    assert 0.97 * 16 / 27**0.5 < before.head.weight.abs().max() <= 16 / 27**0.5
    assert 0.997 / 160 / 432**0.5 < before.tail[0].weight.abs().max() <= 1.001 / 160 / 432**0.5
    optimizer = torch.optim.SGD(network.parameters(), lr=1)
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)
    optimizer.step()
    after = reparameterize(network)
    moved = lambda name: (before.get_parameter(name) - after.get_parameter(name)).detach()  # noqa: E731
    units = {"head.weight": 16, "head.bias": 1, "tail.0.weight": 1 / 16, "tail.0.bias": 1 / 16}
    for name, unit in units.items():
        assert moved(name).numpy() == pytest.approx(1e-3 * unit, rel=1e-3), name


def test_weights_of_before_there_was_a_feature_scale_are_the_kernels_themselves():
    network = random_network()
    old = {key: value for key, value in network.state_dict().items() if not key.endswith("scales")}
    read = network_of_weights(old)
    assert torch.equal(read.head.kernel()[0], network.head.weight)
    assert torch.equal(reparameterize(read).tail[0].bias, network.tail[0].bias)
    assert network_of_weights(network.state_dict()).head.scales.tolist() == [16, 1]


@pytest.mark.parametrize(("rms", "scale"), [(1 / 9, 1), (1.3 / 9, 1), (0.02, 1), (1.9 / 9, 2), (15 / 9, 16)])
def test_a_training_form_holds_deployed_weights_in_units_near_their_size(rms, scale):
    deployed = reparameterize(random_network()).state_dict()
    deployed["head.weight"] *= rms / deployed["head.weight"].square().mean().sqrt()
    network = training_form(deployed)
    assert network.head.scales.tolist() == [scale, 1]
    assert network.tail[0].scales.tolist() == [1 / scale, 1 / scale]
    assert torch.equal(network.head.kernel()[0], deployed["head.weight"])


@pytest.mark.parametrize("scale", [1.0, 16.0])
def test_grown_features_are_the_heads_times_the_factor_and_the_tail_as_much_smaller(scale: float):
    torch.manual_seed(0)
    network = TrainingPFDNLite(pruned_blocks=(2, 3))
    network.scale_features(scale)
    network.tail[0].bias.data.fill_(0.25)
    before = reparameterize(network).state_dict()
    network.grow_features(4)
    after = reparameterize(network).state_dict()
    factors = {"head.weight": 4, "head.bias": 4, "tail.0.weight": 0.25}
    for name, values in before.items():
        # Attention reads of the larger features what it read before; biases keep their part in what they are added to.
        own = 0.25 if name.endswith("attn.body.0.weight") else 4 if ".conv" in name and name.endswith("bias") else 1
        torch.testing.assert_close(after[name], values * factors.get(name, own), rtol=1e-5, atol=1e-9)
    # A step of the optimizer moves them as it does those of a new network.
    assert network.head.scales.tolist() == [16, 1]
    assert network.tail[0].scales.tolist() == [1 / 16, 1 / 16]


def test_attention_of_grown_features_is_that_of_before():
    network, t = random_network(), torch.rand(1, 48, 24, 24)
    with torch.no_grad():
        before, conv = network.block1.attn.body(t), network.block1.conv1(t)
        network.grow_features(4)
        torch.testing.assert_close(network.block1.attn.body(4 * t), before, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(network.block1.conv1(4 * t), 4 * conv, rtol=1e-4, atol=1e-4)


def test_fusing_rounds_once():
    """Merged in float64 by hand, then rounded, to the last bit."""
    network = random_network()
    fused = reparameterize(network).state_dict()
    with torch.no_grad():
        weight, bias = network.double().block1.conv3.kernel()
    assert torch.equal(fused["block1.conv3.weight"], weight.float())
    assert torch.equal(fused["block1.conv3.bias"], bias.float())


def test_channels_last_and_bf16_train_the_same_function():
    network = random_network()
    x = torch.rand(2, 3, 24, 24)
    with torch.no_grad():
        expected = network(x)
        difference = (network(x.contiguous(memory_format=torch.channels_last)) - expected).abs()
        assert difference.max() < rounding(torch.float32, ADDITIONS, expected.abs().max().item())
        with torch.autocast("cpu", torch.bfloat16):
            assert (network(x) - expected).abs().mean() < 0.02 * expected.std()


@pytest.mark.parametrize("stage", STAGES)
def test_a_training_form_of_deployed_weights_merges_back_to_them(stage):
    """Sums of at most 96 x 96 x 9 products in float64, then one rounding to float32 of weights that are near 1."""
    deployed = reparameterize(random_network(STAGES[stage])).state_dict()
    torch.manual_seed(3)
    network = training_form(deployed)
    assert network.pruned_blocks == STAGES[stage]
    again = reparameterize(network).state_dict()
    for key, value in deployed.items():
        assert (again[key] - value).abs().max() < 2e-6 * max(1, value.abs().max()), key


def test_a_training_form_of_deployed_weights_can_learn_in_all_its_parts():
    """Each parameter of each branch has a gradient, and none is far larger than where training starts."""
    torch.manual_seed(3)
    network = training_form(reparameterize(TrainingPFDNLite(pruned_blocks=(2, 3))).state_dict())
    network(torch.rand(1, 3, 24, 24)).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad.abs().max() > 0, name
        assert parameter.abs().max() < 3, name
    # What surrounds the middle convolution neither shrinks nor stretches much: gates are near 1/2.
    block = network.block1.conv1[0]
    assert (torch.linalg.svdvals(block.expand.weight.flatten(1)) - 1).abs().max() < 1e-5
    assert (torch.linalg.svdvals(block.reduce.weight.flatten(1) * block.gate()) - 1).abs().max() < 0.35
