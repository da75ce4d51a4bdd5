"""What in a published results.json contradicts itself: stated means, and figures that seem to be of another unit."""

import math
from collections.abc import Mapping
from statistics import median_low

from eval.ranking.baselines import Published
from eval.ranking.from_results_json import ModelResult, Results

SAME_MEAN = 1e-9
# A wrong prefix of a unit makes a factor of 1,000; models that enter one challenge are nearer to each other.
OFF_SCALE = 300


def misstated_means(results: Results) -> dict[tuple[str, str], tuple[float, float]]:
    """Return by model and key the stated mean and that of the values, where they differ."""
    found = {}
    for name, result in results.items():
        for role in result.roles:
            means = {"runtime": result.mean_ms(role)}
            means |= {"psnr": result.mean_db(role)} if role in result.psnr_roles else {}
            for key, mean in means.items():
                stated = getattr(result, f"{role}_ave_{key}")
                if not math.isclose(stated, mean, rel_tol=SAME_MEAN):
                    found[name, f"{role}_ave_{key}"] = (stated, mean)
    return found


def off_scale(results: Results) -> dict[tuple[str, str], tuple[float, float]]:
    """Return by model and key a figure and the median of all models, where one is 300 times the other or more."""
    scales = {name: _scales(result) for name, result in results.items()}
    return {
        (name, key): (figures[key], usual)
        for key, usual in _medians(results).items()
        for name, figures in scales.items()
        if _is_off(figures[key], usual)
    }


def all_off_scale(results: Results, baseline: Published) -> dict[str, tuple[float, float]]:
    """Return by key the median of all models and the edition's baseline's figure, where these are as far apart."""
    published = {
        "valid_runtime": baseline.runtime_valid_ms or baseline.runtime_ms,
        "flops": baseline.flops / 1e9,
        "num_parameters": baseline.num_params / 1e6,
        "activations": (baseline.activations or 0) / 1e6,
        "valid_memory": baseline.peak_memory_mib or 0.0,
    }
    return {
        key: (usual, figure)
        for key, usual in _medians(results).items()
        if (figure := published[key]) and _is_off(usual, figure)
    }


def _medians(results: Results) -> dict[str, float]:
    """Return the median of each figure over models; a count of 0 is none."""
    scales = [_scales(result) for result in results.values()]
    known = {key: [its[key] for its in scales if its[key]] for key in next(iter(scales), {})}
    return {key: median_low(values) for key, values in known.items() if values}


def _is_off(figure: float, usual: float) -> bool:
    return figure != 0 and not usual / OFF_SCALE < figure < usual * OFF_SCALE


def _scales(result: ModelResult) -> Mapping[str, float]:
    return {
        "valid_runtime": result.mean_ms("valid"),
        "flops": result.flops,
        "num_parameters": result.num_parameters,
        "activations": result.activations,
        "valid_memory": result.valid_memory,
    }
