"""A checkout in the challenge's form, planted with what third-party code does: by oversight, or on purpose."""

import importlib
import os

import torch
from utils import utils_image as util


def select_model(args, device):
    model_id = args.model_id
    if model_id == 0:
        from models.team00_plain import Plain

        name, data_range = f"{model_id:02}_Plain_baseline", 1.0
        model_path = os.path.join("model_zoo", "team00_plain.pth")
        model = Plain()
        model.load_state_dict(torch.load(model_path), strict=True)
    elif model_id == 1:
        from models.team01_cuda import WarmsUp

        name, data_range = f"{model_id:02}_WarmsUp", 1.0
        model_path = os.path.join("model_zoo", "team00_plain.pth")
        model = WarmsUp().eval().to(device)
        model.load_state_dict(torch.load(model_path), strict=True)
    elif model_id == 2:
        module = importlib.import_module(f"models.team{model_id:02}_devices")
        name, data_range = f"         {model_id:02}_Devices", 1.0
        model = getattr(module, "Devices")()
        model.load_state_dict(torch.load("./model_zoo/team00_plain.pth"), strict=True)
    elif model_id == 3:
        from models.team03_packages import Packages

        name, data_range = f"{model_id:02}_Packages", 1.0
        model = Packages()
        model.load_state_dict(torch.load("model_zoo/team00_plain.pth"), strict=False)
    elif model_id == 4:
        from models.team00_plain import Plain

        name, data_range = f"{model_id:02}_Elsewhere", 1.0
        model = Plain()
        model.load_state_dict(torch.load("/home/someone/Team00_PLAIN.pth"), strict=True)
    elif model_id == 5:
        from models.team00_plain import Plain

        name, data_range = f"{model_id:02}_OwnForward", 255.0
        model = Plain()
        model.load_state_dict(torch.load("model_zoo/team00_plain.pth"), strict=True)
    elif model_id == 6:
        # Withheld
        pass
    elif model_id == 7:
        from models.team00_plain import Plain

        name, data_range = f"{model_id:02}_NoWeights", 1.0
        model_path = os.path.join("model_zoo", "team07_absent.pth")
        model = Plain()
        model.load_state_dict(torch.load(model_path), strict=True)
    elif model_id in (8, 9):
        name, data_range = f"{model_id:02}_Imports", 1.0
        module = importlib.import_module({8: "no_such_package", 9: "natten"}[model_id])
        model = module.Model()
    elif model_id == 10:
        from models.team00_plain import Plain

        name, data_range = f"{model_id:02}_Pickled", 1.0
        model = Plain()
        model.load_state_dict(torch.load("model_zoo/team10_code.pth", weights_only=False), strict=True)
    elif model_id == 11:
        from models.team00_plain import Plain

        name, data_range = f"{model_id:02}_Misfit", 1.0
        model = Plain(scale=2)
        model.load_state_dict(torch.load("model_zoo/team00_plain.pth"), strict=True)
    elif model_id == 12:
        name, data_range = "../../[12] <b>_Leaves", 1.0
        model = torch.nn.Identity()
        raise SystemExit(0)
    else:
        raise NotImplementedError(f"Model {model_id} is not implemented.")

    model.eval()
    tile = None
    for _, v in model.named_parameters():
        v.requires_grad = False
    model = model.to(device)
    return model, name, data_range, tile


def forward(img_lq, model, tile=None, tile_overlap=32, scale=4):
    return model(img_lq)


def forward_team05(img_lq, model, tile=None, tile_overlap=32, scale=4):
    return model(img_lq / 255.0) * 255.0


def run(model, model_name, data_range, tile, logger, device, args, mode="test"):
    img_lr = util.load()
    if args.model_id == 5:
        img_sr = forward_team05(img_lr, model, tile)
    else:
        img_sr = forward(img_lr, model, tile)
    return img_sr
