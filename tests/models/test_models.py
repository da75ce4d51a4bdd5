"""Every network of the zoo, against the published figures and outputs."""

import importlib

import pytest
import torch

from eval.metrics.complexity import measure_complexity
from eval.zoo.checkpoints import find_checkpoint
from eval.zoo.loading import load_network
from eval.zoo.manifest import ModelSpec, all_models, find_model
from models.team03_PFDNLite import PFDNLite
from models.team08_ABPN import ABPN

NETWORKS = [spec for spec in all_models() if spec.checkpoints]

# Parameters, fvcore FLOPs at 3x256x256, activations, convolutions: the challenge's result files and authors' code.
COMPLEXITY = {
    "RLFN": (317_218, 19_674_859_520, 80_045_184, 39),
    "DIPNet": (243_252, 14_886_406_144, 72_967_296, 39),
    "PFDN": (272_224, 16_741_074_944, 65_102_976, 35),
    "PFDNLite": (218_288, 11_952_734_208, 36_103_168, 24),
    "EFDN": (276_192, 16_703_470_848, 111_116_736, 65),
    "SPAN": (150_688, 9_833_807_872, 41_680_896, 22),
    "IMDN": (893_936, 58_430_849_024, 154_140_672, 43),
    "RFDN": (433_448, 27_046_231_296, 112_034_240, 64),
    # The plan's own arithmetic: 62,048 parameters, and 61,812 multiply-adds and 236 activations a pixel.
    "ABPN": (62_048, 61_812 * 256**2, 236 * 256**2, 7),
}
# The authors' classes with the published weights on seeded noise of 48x64: mean, standard deviation, and the output
# at (0,0,0), (1,0,0), (2,0,0), (0,100,130). Float32, printed to six digits: off by at most 2e-6 of the data range.
OUTPUTS = {
    "RLFN": (127.501915, 93.329205, 54.916016, 190.637177, 71.678635, 190.849274),
    "DIPNet": (0.499816, 0.375080, 0.445706, 0.808060, 0.265371, 0.854659),
    "PFDN": (0.501276, 0.376801, 0.304633, 0.813635, 0.297447, 0.814719),
    "PFDNLite": (0.502541, 0.380125, 0.322068, 0.806244, 0.250078, 0.637461),
    "EFDN": (0.510340, 0.377061, 0.479859, 0.816787, 0.298998, 0.604769),
    "SPAN": (0.501003, 0.435070, 0.330513, 0.791955, 0.221864, 0.654086),
    "IMDN": (0.504981, 0.383253, 0.337681, 0.785745, 0.277188, 0.695659),
    "RFDN": (129.158848, 102.031853, 102.001740, 210.832932, 71.762436, 191.337875),
}


def _named(spec: ModelSpec) -> str:
    return spec.name


PUBLISHED = [spec for spec in NETWORKS if spec.name in OUTPUTS]


@pytest.fixture(params=NETWORKS, ids=_named)
def spec(request: pytest.FixtureRequest) -> ModelSpec:
    return request.param


def test_complexity_is_the_published_one(spec: ModelSpec):
    measured = measure_complexity(spec.build())
    figures = (measured.num_params, measured.flops, measured.activations, measured.num_conv)
    assert spec.counts is not None, f"{spec.name}: counts are missing in its row of the manifest; they are {figures}"
    assert figures == tuple(spec.counts.model_dump().values())
    # A network that was just begun has been published nowhere.
    assert figures == COMPLEXITY.get(spec.name, figures)


def test_all_published_counts_are_of_networks_that_are_here():
    assert COMPLEXITY.keys() <= {spec.name for spec in NETWORKS}


@pytest.mark.parametrize("spec", PUBLISHED, ids=_named)
def test_published_weights_give_the_published_output(spec: ModelSpec, esr_weights):
    # Ours computes in float64, so that what is left is the authors' rounding, the same on every processor.
    network = load_network(spec, find_checkpoint(spec, "released")).double()
    torch.manual_seed(0)
    x = (torch.rand(1, 3, 48, 64) * spec.data_range).double()
    before = x.clone()
    with torch.inference_mode():
        y = network(x)
    assert y.shape == (1, 3, 192, 256)
    assert torch.equal(x, before)
    points = (y[0, 0, 0, 0], y[0, 1, 0, 0], y[0, 2, 0, 0], y[0, 0, 100, 130])
    figures = [y.mean().item(), y.std().item(), *map(float, points)]
    assert figures == pytest.approx(OUTPUTS[spec.name], abs=2e-6 * spec.data_range)


@pytest.mark.parametrize(("height", "width"), [(17, 31), (40, 15), (16, 16)])
def test_maps_any_size_to_four_times_it(spec: ModelSpec, height: int, width: int):
    with torch.inference_mode():
        assert spec.build()(torch.rand(2, 3, height, width)).shape == (2, 3, 4 * height, 4 * width)


def test_min_size_is_the_least_that_works(spec: ModelSpec):
    network, least = spec.build(), spec.min_size
    with torch.inference_mode():
        assert network(torch.rand(1, 3, least, least)).shape == (1, 3, 4 * least, 4 * least)
        if least > 1:
            with pytest.raises(RuntimeError):
                network(torch.rand(1, 3, least - 1, 64))


def test_every_parameter_and_the_input_get_a_gradient(spec: ModelSpec):
    network = spec.build().double()
    x = torch.rand(1, 3, 24, 24, dtype=torch.double, requires_grad=True)
    network(x).square().mean().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    without = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert without == []


def test_images_of_a_batch_do_not_see_each_other(spec: ModelSpec):
    network = spec.build().double()
    x = torch.rand(2, 3, 20, 24, dtype=torch.double)
    with torch.inference_mode():
        together = network(x)
        alone = torch.cat([network(image.unsqueeze(0)) for image in x])
    assert torch.allclose(together, alone, atol=1e-12)


def test_importing_and_building_prints_nothing_and_draws_on_no_device(spec: ModelSpec, capsys):
    module = importlib.import_module(spec.target.partition(":")[0])
    importlib.reload(module)
    network = spec.build()
    assert {parameter.device.type for parameter in network.parameters()} == {"cpu"}
    assert not network.training
    assert capsys.readouterr() == ("", "")


def test_first_stage_network_has_four_full_blocks():
    measured = measure_complexity(PFDNLite(pruned_blocks=()))
    figures = (measured.num_params, measured.flops, measured.activations, measured.num_conv)
    assert figures == (249_488, 13_991_165_952, 42_394_624, 26)


def test_without_its_tail_pfdnlite_is_nearest_neighbour():
    network = PFDNLite().double()
    torch.nn.init.zeros_(network.tail[0].weight)
    torch.nn.init.zeros_(network.tail[0].bias)
    x = torch.rand(1, 3, 9, 11, dtype=torch.double)
    with torch.inference_mode():
        assert torch.equal(network(x), torch.nn.functional.interpolate(x, scale_factor=4, mode="nearest"))


def test_without_its_tail_abpn_is_nearest_neighbour_clipped_outside_training():
    network = ABPN().double()
    torch.nn.init.zeros_(network.tail.weight)
    x = torch.rand(1, 3, 9, 11, dtype=torch.double) * 1.5
    enlarged = torch.nn.functional.interpolate(x, scale_factor=4, mode="nearest")
    with torch.inference_mode():
        assert torch.equal(network.train()(x), enlarged)
        assert torch.equal(network.eval()(x), enlarged.clamp(0, 1))


def test_mean_of_span_is_no_part_of_its_state():
    assert not [key for key in find_model("SPAN").build().state_dict() if "mean" in key]
