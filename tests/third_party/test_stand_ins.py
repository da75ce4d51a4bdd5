"""What stands in for packages that are not here does what they do, computed another way."""

import pytest
import torch
from torch import nn

from eval.third_party.shims import stand_ins


def test_a_conv_module_is_convolution_normalisation_and_relu():
    torch.manual_seed(0)
    module = stand_ins.ConvModule(3, 5, 3, padding=1, norm_cfg={"type": "BN"}).double().eval()
    with torch.no_grad():
        module.bn.running_mean.uniform_(-1, 1)
        module.bn.running_var.uniform_(0.5, 2)
        x = torch.randn(1, 3, 6, 7, dtype=torch.double)
        y = nn.functional.conv2d(x, module.conv.weight, None, padding=1)
        mean, var = module.bn.running_mean[:, None, None], module.bn.running_var[:, None, None]
        expected = ((y - mean) / torch.sqrt(var + 1e-5)).clamp(min=0)
        assert torch.allclose(module(x), expected, rtol=0, atol=1e-12)
    # mmcv leaves the bias out where normalisation follows; the keys are those of its checkpoints.
    assert "conv.bias" not in module.state_dict()
    assert "conv.bias" in stand_ins.ConvModule(3, 5, 1, act_cfg=None).state_dict()
    assert stand_ins.ConvModule(3, 5, 1, act_cfg=None)(x.float()).min() < 0


def test_a_conv_module_that_is_not_known_is_missed():
    with pytest.raises(ImportError, match="mmcv is not installed"):
        stand_ins.ConvModule(3, 5, 1, norm_cfg={"type": "SyncBN"})


def test_drop_path_is_nothing_at_inference():
    x = torch.randn(2, 3)
    module = stand_ins.DropPath(0.5).eval()
    assert module(x) is x
    with pytest.raises(ImportError, match="timm is not installed"):
        module.train()(x)


def test_tuples():
    assert stand_ins.to_ntuple(2)(3) == (3, 3)
    assert stand_ins.to_ntuple(2)([1, 2]) == (1, 2)
    assert stand_ins.to_ntuple(3)("ab") == ("ab", "ab", "ab")


def test_pad_takes_sides_in_torchvisions_order():
    x = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert stand_ins.pad(x, 1).shape == (1, 1, 4, 5)
    assert stand_ins.pad(x, (2, 1)).shape == (1, 1, 4, 7)
    padded = stand_ins.pad(x, (1, 0, 0, 0), fill=9)
    assert padded[0, 0].tolist() == [[9, 0, 1, 2], [9, 3, 4, 5]]
    assert stand_ins.pad(x, (0, 0, 1, 0), padding_mode="reflect")[0, 0].tolist() == [[0, 1, 2, 1], [3, 4, 5, 4]]
    assert stand_ins.pad(x, (0, 0, 1, 0), padding_mode="edge")[0, 0].tolist() == [[0, 1, 2, 2], [3, 4, 5, 5]]


def test_normalize_by_hand():
    x = torch.tensor([[[1.0]], [[2.0]], [[3.0]]])
    assert stand_ins.normalize(x, (1, 1, 1), (1, 2, 4)).flatten().tolist() == [0.0, 0.5, 0.5]
    assert x.flatten().tolist() == [1.0, 2.0, 3.0]
    stand_ins.normalize(x, (1, 1, 1), (1, 2, 4), inplace=True)
    assert x.flatten().tolist() == [0.0, 0.5, 0.5]


def test_a_registry_leaves_a_class_as_it_is():
    registry = stand_ins.Registry()

    class Network:
        pass

    assert registry.register()(Network) is Network
    assert registry.register(Network) is Network


def test_only_what_is_known_is_found():
    assert stand_ins.find("timm.models.layers", "DropPath") is stand_ins.DropPath
    assert stand_ins.find("basicsr.utils.registry", "ARCH_REGISTRY") is not None
    assert stand_ins.find("torchvision.ops", "nms") is None
