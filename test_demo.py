"""Run one model on images: the challenge template's front door. ``python test_demo.py --model_id 3``."""

from eval.cli import flags
from eval.cli.program import run_program
from eval.config import RunConfig, split
from eval.errors import UsageError


@flags.configured()
def demo(
    config: RunConfig,
    model_id: flags.ModelId = "3",
    data_dir: flags.DataDir = None,
    datasets: flags.Datasets = None,
    save_dir: flags.SaveDir = flags.DEFAULT_SAVE_DIR,
    include_test: flags.IncludeTest = False,
    weights: flags.Weights = None,
    weights_key: flags.WeightsKey = None,
    no_images: flags.NoImages = False,
    force: flags.Force = False,
    show: flags.Open = False,
) -> None:
    """Super-resolve a set of images with one model; measure PSNR, SSIM, runtime, complexity and memory."""
    # What loads torch is loaded once the flags are known to be right.
    from eval.cli.session import Session
    from eval.run.launch import Launch
    from eval.run.model_source import zoo_model
    from eval.zoo.manifest import find_model

    if "," in model_id:
        command = f"python -m eval run --models {model_id}"
        raise UsageError(f"--model_id {model_id}: this command runs one model; for several: {command}")
    spec = find_model(model_id)
    session = Session(config, save_dir, Launch(images_dir=None if no_images else save_dir, force=force))
    model = zoo_model(spec, weights, weights_key)
    opened = session.open(data_dir, [*(split(datasets) or [None]), *(["test"] if include_test else [])])
    session.run([model], opened)
    session.finish(opened[0].name, opened[-1].name if include_test else None, show)


if __name__ == "__main__":
    run_program(demo)
