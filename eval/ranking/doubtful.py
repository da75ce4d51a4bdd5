"""What in a published results.json contradicts itself: stated means, and figures that seem to be of another unit."""

import math
from collections.abc import Mapping
from statistics import median_low

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
    found = {}
    scales = {name: _scales(result) for name, result in results.items()}
    for key in next(iter(scales.values()), {}):
        # A count of 0 is none.
        known = {name: its[key] for name, its in scales.items() if its[key]}
        usual = median_low(known.values()) if known else 0.0
        for name, figure in known.items():
            if not usual / OFF_SCALE < figure < usual * OFF_SCALE:
                found[name, key] = (figure, usual)
    return found


def _scales(result: ModelResult) -> Mapping[str, float]:
    return {
        "valid_runtime": result.mean_ms("valid"),
        "flops": result.flops,
        "num_parameters": result.num_parameters,
        "activations": result.activations,
        "valid_memory": result.valid_memory,
    }
