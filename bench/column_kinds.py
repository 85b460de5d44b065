"""What kind of value a column holds, and in what unit: for `list columns`, and for programs that read the tables.

Types are those of Table Schema (https://specs.frictionlessdata.io/table-schema). What is in neither list is a number,
and has no unit.
"""

from functools import cache

_TYPES = {
    "string": """
        model guidance sampler grid mode clip labels value_range quantiser device_name version_torch dtype family device
        extractor extractor_layer reference guidance_model model_source model_variance run timing_note id status error
        note preview_kind cuda platform python command git_commit std_over first_mode source column verdict reason
        open_points version_<package>
    """,
    "boolean": """
        channels_last compile graph stochastic extractor_official final_denoising captured timing_valid git_dirty
        baseline pareto_nfe pareto_seconds
    """,
    "integer": """
        steps images extractor_batch reference_count reference_features nfe_declared calls_declared guidance_batches
        solver_images timed_batch fit_images fit_nfe best_batch threads kid_subset_size schema seed intervals
        kid_subsets isc_splits prc_neighbourhood jackknife_blocks extrapolation_smallest_window metrics_rng_seed
        generation_batch batch_halvings preview_count cpus timing_rounds repeats seeds timed_calls timed_rounds
        published_images <quality>_difference_seeds
    """,
    "array": """
        metrics cells timing_calls timing_watches latency_s network_s device_s sweep_batches sweep_latency_s
        <quality>_left_out
    """,
    "object": "guidance_parameters sampler_parameters grid_parameters made_on",
    "datetime": "finished",
    "any": "batch",
}
_UNITS = {
    "s": """
        latency_s latency_s_median latency_s_q1 latency_s_q3 latency_s_ci_low latency_s_ci_high latency_1_s_median
        network_s network_s_median overhead_s_median device_s first_call_s compile_s fit_s sweep_latency_s
    """,
    "ms": "eval_ms_median",
    "s/image": "s_per_image_median",
    "images/s": "throughput_img_per_s best_throughput_img_per_s",
    "evaluations/s": "evaluations_per_s",
    "evaluations/image": "nfe nfe_declared nfe_first_batch",
    "evaluations": "fit_nfe",
    "calls/image": "calls calls_declared",
    "calls": "timed_calls timing_calls",
    "steps": "steps intervals",
    "images": """
        images batch timed_batch best_batch generation_batch extractor_batch sweep_batches reference_count
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
    "pixel value²": "law_fd law_fd_floor law_fd_floor_std",
}
_DERIVED = ("_difference_ci", "_difference", "_left_out", "_first", "_std", "_ci")
"""How columns end that have the unit of the column before."""


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
