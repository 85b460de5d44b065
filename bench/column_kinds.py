"""What kind of value a column holds, and in what unit: for `list columns`, and for programs that read the tables.

Types are those of Table Schema (https://specs.frictionlessdata.io/table-schema). What is in neither list is a number,
and has no unit.
"""

from functools import cache

_NAMES = {
    **{"steps": "steps", "images": "images of a cell", "batch": "images of a batch", "seeds": "seeds"},
    "nfe": "network evaluations an image (NFE)",
    "nfe_declared": "declared network evaluations an image (NFE)",
    "calls": "model calls an image",
    "calls_declared": "declared model calls an image",
    "guidance_batches": "batches of a guided call",
    "timed_batch": "images of a timed call",
    "timed_calls": "timed calls",
    "timed_rounds": "timed rounds",
    "extractor_batch": "images of a batch of the extractor",
    "reference_count": "images of the reference",
    "reference_features": "images of the reference with features",
    "kid_subset_size": "images of a subset of KID",
    "solver_images": "images of the solver error",
    "solver_steps": "steps of the exact solution",
    "psnr": "PSNR",
    "clip_score": "CLIP score",
    "fit_images": "images of the fit",
    "fit_nfe": "network evaluations of the fit",
    "fit_s": "time of the fit",
    "latency_s_median": "time of a call",
    "latency_s_q1": "lower quartile of the time of a call",
    "latency_s_q3": "upper quartile of the time of a call",
    "latency_s_ci_low": "lower end of the 95 % interval of the time of a call",
    "latency_s_ci_high": "upper end of the 95 % interval of the time of a call",
    "latency_1_s_median": "time of a call on one image",
    "s_per_image_median": "time an image",
    "decode_s_per_image": "time of decoding an image",
    "decode_batch": "images decoded at a time",
    "total_seconds": "time an image, decoded",
    "throughput_img_per_s": "throughput",
    "best_batch": "batch of the most images a second",
    "best_throughput_img_per_s": "throughput at the best batch",
    "evaluations_per_s": "network evaluations a second",
    "eval_ms_median": "time of a batch's network evaluation",
    "network_s_median": "time of a call inside the network",
    "overhead_s_median": "time of a call outside the network",
    "overhead_fraction": "share of time outside the network",
    "first_call_s": "time to the first timed call",
    "compile_s": "time of compilation",
    "gflop_per_evaluation": "arithmetic of an evaluation",
    "guidance_gflop_per_evaluation": "arithmetic of the weaker network's evaluation",
    "arithmetic_fraction": "share of the device's peak",
    "peak_mem_mib": "peak memory of a call",
    "held_mem_mib": "memory in use before a call",
    "energy_j_per_image": "energy",
    "threads": "threads",
    "sigma_start": "sigma / alpha of the first level",
    "sigma_end": "sigma / alpha of the last noisy level",
    "kid_mean": "KID",
    "class_accuracy_real": "class accuracy of real images",
    "law_fd_floor": "law FD of exact samples",
    "law_occupancy_floor_std": "standard deviation of the occupancy of exact samples",
    "solver_rmse_reference": "error of the exact solution",
}
"""What columns of numbers are called on an axis or in a caption; of a quality, tables have the name."""

_TYPES = {
    "string": """
        model guidance sampler grid mode clip labels value_range quantiser device_name version_torch dtype family device
        extractor extractor_layer reference guidance_model model_source model_variance run timing_note id status error
        note preview_kind cuda platform python command git_commit std_over flow_ends first_mode source column verdict
        reason open_points version_<package> clip_model
    """,
    "boolean": """
        channels_last compile graph stochastic extractor_official final_denoising captured timing_valid git_dirty
        baseline pareto_nfe pareto_seconds
    """,
    "integer": """
        steps images extractor_batch reference_count reference_features nfe_declared calls_declared guidance_batches
        solver_images timed_batch decode_batch fit_images fit_nfe best_batch threads kid_subset_size schema seed
        intervals kid_subsets isc_splits prc_neighbourhood jackknife_blocks extrapolation_smallest_window
        metrics_rng_seed
        generation_batch batch_halvings preview_count cpus timing_rounds repeats seeds timed_calls timed_rounds
        published_images prompts <quality>_difference_seeds solver_steps
    """,
    "array": """
        metrics cells timing_calls timing_watches latency_s network_s device_s decode_s sweep_batches sweep_latency_s
        <quality>_left_out fitted_t
    """,
    "object": "guidance_parameters sampler_parameters grid_parameters made_on",
    "datetime": "finished",
    "any": "batch",
}
_UNITS = {
    "s": """
        latency_s latency_s_median latency_s_q1 latency_s_q3 latency_s_ci_low latency_s_ci_high latency_1_s_median
        network_s network_s_median overhead_s_median device_s first_call_s compile_s fit_s sweep_latency_s decode_s
    """,
    "ms": "eval_ms_median",
    "s/image": "s_per_image_median decode_s_per_image total_seconds",
    "images/s": "throughput_img_per_s best_throughput_img_per_s",
    "evaluations/s": "evaluations_per_s",
    "evaluations/image": "nfe nfe_declared nfe_first_batch",
    "evaluations": "fit_nfe",
    "calls/image": "calls calls_declared",
    "calls": "timed_calls timing_calls",
    "steps": "steps intervals solver_steps",
    "images": """
        images batch timed_batch decode_batch best_batch generation_batch extractor_batch sweep_batches reference_count
        reference_features solver_images fit_images kid_subset_size preview_count published_images
    """,
    "seeds": "seeds <quality>_difference_seeds",
    "rounds": "timing_rounds timed_rounds",
    "GFLOP": "gflop_per_evaluation guidance_gflop_per_evaluation",
    "MiB": "peak_mem_mib held_mem_mib",
    "J/image": "energy_j_per_image",
    "share": """
        arithmetic_fraction overhead_fraction precision recall class_accuracy class_accuracy_real tolerance difference
    """,
    "pixel value": "law_nearest_rmse solver_rmse solver_rmse_median solver_rmse_reference",
    "dB": "psnr",
    "pixel value²": "law_fd law_fd_floor law_fd_floor_std",
}
_DERIVED = ("_difference_ci", "_difference", "_left_out", "_first", "_std", "_ci")
"""How columns end that have the unit of the column before."""


def name_of(name: str) -> str:
    """What a column of numbers is called in words, without its unit."""
    return _NAMES.get(name, name.replace("_", " "))


def with_unit(name: str, words: str | None = None) -> str:
    """The same with its unit, unless the words have it.

    Args:
        name: of the column.
        words: what it is called; None: as `name_of` has it.
    """
    called, unit = name_of(name) if words is None else words, unit_of(name)
    return called if unit is None or unit.partition("/")[0] in called.split() else f"{called} ({unit})"


@cache
def _by_name(which: str) -> dict[str, str]:
    table = {"type": _TYPES, "unit": _UNITS}[which]
    return {name: kind for kind, names in table.items() for name in names.split()}


def type_of(name: str) -> str:
    """The type of a column, or of those that a pattern stands for."""
    return "string" if name.endswith("_sha256") else _by_name("type").get(name, "number")


def unit_of(name: str) -> str | None:
    """The unit of a column; None if it has none. A mean has its own and so has what is known of it: its deviation."""
    found = _by_name("unit").get(name)
    end = next((end for end in _DERIVED if name.endswith(end)), None)
    return unit_of(name.removesuffix(end)) if found is None and end is not None else found
