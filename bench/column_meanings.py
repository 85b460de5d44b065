"""What the columns mean, of records (`cells.*`), of the table (`table.*`), and of what modes cost (`modes.csv`) and of
published values (`published.csv`).

A name with <...> in it stands for several columns; of those that fit a column the first says what it means.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

from bench.column_kinds import type_of, unit_of

CELLS, TABLE, MODES, PUBLISHED = "cells", "table", "modes", "published"
"""The files, without their endings."""


class Column(NamedTuple):
    """What a column is called, in which files it stands, and what it means."""

    name: str
    files: Sequence[str]
    meaning: str

    @property
    def type(self) -> str:
        """What its values are."""
        return type_of(self.name)

    @property
    def unit(self) -> str | None:
        """Their unit; None if they have none, or if a pattern stands for columns of several."""
        return unit_of(self.name)


_SETTING = {
    "model": "Name on the model's card.",
    "guidance": "How outputs with and without a class, or of two networks, were joined; none of older records.",
    "sampler": "Sampler with the parameters that are not at their default.",
    "grid": "How the steps are placed, with its parameters.",
    "steps": "Steps asked for.",
    "images": "Images a cell generated.",
    "batch": "Images at a time, as the study asked for, or auto.",
    "mode": "How the network was executed: a precision, and any of channels_last, compile and graph.",
    "clip": "What predictions of x_0 are clamped to: low, high and, of dynamic thresholding, the quantile.",
    "labels": "How classes were chosen: drawn or balanced, by seed and image, or the class of all images; or prompts.",
    "value_range": "What black and white are in the network's images.",
    "quantiser": "How values become uint8.",
    "device_name": "Processor that sampled, with the number of threads of a CPU.",
    "version_torch": "Installed version of PyTorch.",
    "sampler_sha256": "Hash of the sampler's code and of all that it imports.",
    "guidance_code_sha256": "Hash of a plugin's code of the guidance.",
    "grid_code_sha256": "Hash of a plugin's code of the grid, and of the sampler that it is fitted to if it names one.",
    "code_sha256": "Hash of the code that all cells share.",
    "model_sha256": "Hash of the model's weights and of what its card says of results.",
    "guidance_model_sha256": "The same of the weaker network of a guidance; empty if it has none.",
    "subject_sha256": "The same of the study's main model; rows of others are never ranked with it.",
    "extractor_sha256": "Hash of the feature extractor's weights.",
    "extractor_layer": "Layer whose features are compared.",
    "extractor_batch": "Images that the extractor saw at a time.",
    "reference_sha256": "Hash of the reference's statistics.",
}
"""What tells rows of the table apart."""

_BOTH = {
    "dtype": "Precision of the mode.",
    "channels_last": "Whether the network's memory was laid out so.",
    "compile": "Whether the network was compiled.",
    "graph": "Whether calls were to be captured in a CUDA graph.",
    "family": "Kind of the sampler, as it says.",
    "stochastic": "Whether the sampler draws noise after the initial state.",
    "device": "cpu or cuda.",
    "extractor": "Name of the feature extractor.",
    "extractor_official": "Whether its weights are the official ones, which a distance called fid needs.",
    "reference": "Name of the real data's statistics.",
    "reference_count": "Real images that they are of.",
    "reference_features": "Of how many of them the features are kept, for KID, precision and recall.",
    "nfe": "Network evaluations an image, counted at the network.",
    "nfe_declared": "The same as the sampler declares it; empty if it cannot know.",
    "calls": "How often the sampler asked the model about an image: with guidance a call takes one evaluation or two.",
    "calls_declared": "The same as the sampler declares it; empty if it cannot know.",
    "guidance_parameters": "All parameters of the guidance.",
    "guidance_model": "Name of its weaker network; empty if it has none.",
    "guidance_batches": "Whether what it joins went through the network as one batch, 1, or one after another, 2.",
    "guidance_gflop_per_evaluation": "Billions of operations of an image's evaluation by the weaker network.",
    "sigma_start": "sigma / alpha of the first level; empty where it is infinite, or the sampler places its steps.",
    "sigma_end": "sigma / alpha of the last noisy level.",
    "final_denoising": "Whether a step from there to clean data follows.",
    "model_source": "Where the model came from: an embedded name, a folder, or hf:owner/name@commit.",
    "solver_images": "Images that the solver error and the PSNR were measured on.",
    "solver_steps": "Runge-Kutta steps of the exact solution that these are measured from.",
    "clip_model": "The CLIP of the CLIP score: a folder, or hf:owner/name@commit.",
    "clip_sha256": "Hash of its files: configuration, preprocessor, tokenizer and weights.",
    "prompts_sha256": "Hash of the prompts in their order, and of the negative prompt.",
    "run": "Name of the run folder; of rows pooled from several, joined by +.",
    "timed_batch": "Images of a timed call.",
    "latency_s_median": "Seconds of a whole sample call: median.",
    "latency_s_q1": "Seconds of a whole sample call: lower quartile.",
    "latency_s_q3": "Seconds of a whole sample call: upper quartile.",
    "latency_s_ci_low": "Lower end of the 95 % interval of the median, over rounds.",
    "latency_s_ci_high": "Upper end of the 95 % interval of the median, over rounds.",
    "latency_1_s_median": "Seconds of a call on one image: median, if timing.batches has 1.",
    "decode_batch": "Of latent models: images decoded at a time.",
    "throughput_img_per_s": "Images a second at the median call.",
    "evaluations_per_s": "Network evaluations of an image a second at the median call.",
    "eval_ms_median": "Milliseconds inside the network a step's evaluation of a batch: median.",
    "network_s_median": "Seconds inside the network in a call: median; empty where a call was replayed from a graph.",
    "overhead_s_median": "Seconds of a call outside the network: median.",
    "first_call_s": "Seconds of making ready for the first timed call: first calls, capture.",
    "compile_s": "Seconds of the first evaluation of a compiled network, in which it is compiled.",
    "fit_images": "Images of noise that what its sampler or its grid takes was fitted with, before all others.",
    "fit_nfe": "Network evaluations of that whole fit, which cells share; nfe leaves them out.",
    "fit_s": "Seconds of that whole fit, which no timed call has in it.",
    "captured": "Whether calls were replayed from a CUDA graph; empty where that was not asked for.",
    "best_batch": "Of the batch sizes timed, that of the most images a second.",
    "best_throughput_img_per_s": "Images a second at that size.",
    "gflop_per_evaluation": "Billions of operations of an image's evaluation: convolutions and matrix products.",
    "arithmetic_fraction": "What share of the device's peak in this precision the evaluations use; empty if unknown.",
    "peak_mem_mib": "Most memory that a call takes on the GPU, in MiB, beyond what is in use before it.",
    "held_mem_mib": "In use on the GPU before, in MiB: all loaded networks, and what earlier cells have kept.",
    "energy_j_per_image": "Joules an image took on the GPU, by NVML.",
    "threads": "Threads that torch computed with.",
    "timing_valid": "Whether nothing is known to have disturbed the times.",
    "timing_note": "What did, or why a setting was not timed.",
    "fid": "Frechet distance with Inception's official weights, of 50,000 images or more; lower is better.",
    "kid_mean": "Kernel distance to the reference, unbiased by their number; lower is better. Tables show KID ×10³.",
    "kid_subset_size": "Images of a subset that KID is the mean over.",
    "inception_score": "exp of the mean KL divergence of class predictions; higher is better.",
    "precision": "Share of the images in the real ones' 3-nearest-neighbour manifold; higher is better.",
    "recall": "Share of the real images in theirs; higher is better.",
    "class_accuracy": "Share of the images that the extractor takes for the class asked for; higher is better.",
    "class_accuracy_real": "The same of real images that it was not trained on, as its card says.",
    "clip_score": "100 max(cos, 0) of CLIP's embeddings of an image and of its prompt, the mean; higher is better.",
    "law_fd": "Of exact models: Frechet distance of the pixels from the law's mean and covariance.",
    "law_fd_floor": "The same of as many exact samples, the mean over 8 sets.",
    "law_nearest_rmse": "Of finite data: RMS distance a pixel from the nearest point; 0 for exact samples.",
    "law_occupancy": "Of finite data: how unevenly samples fall on the points; 0 is expected of exact samples.",
    "law_occupancy_floor_std": "Its standard deviation if all points are equally likely.",
    "solver_rmse": "Of deterministic samplers: RMS distance a pixel from the exact solution from the same noise.",
    "solver_rmse_median": "The same of the median image, blind to the few that end on another side.",
    "psnr": "Of deterministic samplers: PSNR of images to those of the exact solution; higher is better, at most 120.",
    "solver_rmse_reference": "How far the exact solution moves when its own steps double.",
}
"""Of records and of the table alike; of several seeds the table has the mean."""

_RECORD = {
    "schema": "Version of the record's format.",
    "id": "Name of the cell: a hash of all that determines its result.",
    "status": "ok, or failed.",
    "error": "Why it failed.",
    "note": "What whoever reads its row must know.",
    "metrics": "What was measured.",
    "seed": "Seed block of noise and labels.",
    "bibtex": "Entries for a bibliography that plugins bring, by which of sampler, grid and guidance; empty without.",
    "prompts": "Of text-to-image models: prompts; image i is made of prompt i mod so many.",
    "sampler_parameters": "All parameters of the sampler.",
    "grid_parameters": "All parameters of the grid.",
    "levels_sha256": "Hash of the levels that were sampled at, to the last bit; not of a fitted grid (fitted_t).",
    "intervals": "Steps that were made.",
    "architecture_sha256": "Hash of a plugin's code of the network.",
    "guidance_architecture_sha256": "The same of the weaker network of a guidance.",
    "extractor_code_sha256": "Hash of a plugin's code of the extractor.",
    "extractor_weights_sha256": "Hash of the feature extractor's weights.",
    "model_variance": "Variance of a reverse step that the checkpoint says it was trained with.",
    "model_weights_sha256": "Hash of the weights alone, which a study may pin as weights_sha256.",
    "kid_subsets": "Subsets that KID is the mean over.",
    "isc_splits": "Splits that the Inception score is the mean over.",
    "prc_neighbourhood": "Which nearest neighbour bounds the manifolds of precision and recall.",
    "jackknife_blocks": "Blocks of images that a distance's standard error is from.",
    "extrapolation_smallest_window": "Smallest set of blocks that a distance is extrapolated from.",
    "metrics_rng_seed": "Seed of the subsets and splits.",
    "nfe_first_batch": "Evaluations an image in the first batch, of a sampler that cannot declare them.",
    "generation_batch": "Images at a time, after halvings for want of memory.",
    "batch_halvings": "How often the batch was halved.",
    "made_on": "Images by the devices that made them, on a cluster with their machines.",
    "preview_count": "Images in the cell's picture.",
    "preview_sha256": "Hash of the file of that picture, which is not shown if it has another.",
    "preview_kind": "How it shows them: pictures, maps or points.",
    "load_average_1min": "Load of the machine before the cell.",
    "cuda": "Version of CUDA.",
    "platform": "Operating system.",
    "python": "Version of Python.",
    "cpus": "Processors of the machine.",
    "command": "The command that measured it.",
    "version_<package>": "Installed version of a package.",
    "git_commit": "Commit of this package's repository.",
    "git_dirty": "Whether it had changes.",
    "finished": "When the images were made and scored.",
    "timing_rounds": "Rounds that it was timed in.",
    "timing_calls": "Timed calls of each round.",
    "timing_watches": "What else went on in each round: others' share of the processors, throttling, energy.",
    "latency_s": "Seconds of every timed call.",
    "network_s": "Seconds inside the network, of every timed call.",
    "device_s": "Seconds by CUDA events, of every timed call.",
    "decode_s": "Of latent models: seconds of decoding decode_batch latents, of every round; no part of latency_s.",
    "sweep_batches": "All batch sizes that were timed.",
    "sweep_latency_s": "Seconds of every call, at each of them.",
    "law_fd_floor_std": "Standard deviation of law_fd_floor over the sets.",
    "<quality>_left_out": "Its values without a tenth of the images each: what errors of differences are made from.",
    "repeats": "Of older records: timed calls.",
    "fitted_t": "Times of the noisy levels of a grid that was fitted.",
}
"""Of records alone."""

_ROW = {
    "baseline": "Whether it is the study's baseline.",
    "seeds": "Seed blocks that it is the mean of.",
    "cells": "Names of its records.",
    "timed_calls": "Timed calls that its times are of.",
    "timed_rounds": "Rounds that they were made in.",
    "s_per_image_median": "Seconds an image at the median call.",
    "decode_s_per_image": "Of latent models: seconds of decoding an image, median; no part of the times of sampling.",
    "total_seconds": "Seconds an image, sampled and decoded.",
    "overhead_fraction": "Share of the median call outside the network.",
    "flow_ends": "What the exact flow of solver errors goes between, sigma / alpha of the first level and of the end.",
    "std_over": "What standard deviations are over: seeds, or parts of a single cell.",
    "pareto_nfe": "Whether no other row of its protocol is better in distance and evaluations.",
    "pareto_seconds": "Whether no other row of its protocol and clock is better in distance and seconds.",
}
"""Of the table alone."""

_MODE = {
    "first_mode": "The study's first mode, which the row's is compared with.",
    "<column>_first": "Of the same setting in the first mode.",
    "speedup": "How many times as fast as in the first mode.",
    "speedup_ci_low": "Lower end of its 95 % interval.",
    "speedup_ci_high": "Upper end of its 95 % interval.",
    "<quality>_difference_ci": "Half the 95 % interval of that difference.",
    "<quality>_difference_p": "p of the paired t-test of that difference.",
    "<quality>_difference_p_holm": "The same by Holm's procedure, for all modes of the setting.",
    "<quality>_difference_seeds": "Seeds that have both.",
    "<quality>_difference": "From the first mode, the mean over seeds that have both.",
}
_PUBLISHED_VALUE = {
    "source": "Where the value was published.",
    "column": "The column that is to equal it.",
    "published": "The value.",
    "published_images": "Images that it was computed from.",
    "tolerance": "How far off, as a share of it, still counts as within.",
    "measured": "The mean of the row that is to reproduce it; empty if they cannot be compared.",
    "ci": "Half the 95 % interval of that mean.",
    "verdict": "within, outside, or why it says nothing about the value.",
    "reason": "Why there is no verdict.",
    "open_points": "Where the protocol is not known, or not the same.",
    "difference": "Of the measured value from the published one, as a share of that.",
}
_DERIVED = {
    "<distance>_inf_std": "Standard deviation of that: over seeds, else of the extrapolation.",
    "<distance>_inf": "Frechet distance extrapolated to infinitely many images (arXiv 1911.07023).",
    "<quality>_std": "Standard deviation: of a record by jackknife, subsets or splits; of a row see std_over.",
    "fd_<extractor>": "Frechet distance of features to the reference; lower is better.",
}
_INTERVAL = {"<quality>_ci": "Half the 95 % interval of the mean."}
_OF_A_SETTING = ("s_per_image_median", "run", "seeds")
_OF_A_VALUE = ("run", "sampler", "grid", "steps", "model", "clip", "mode", "guidance", "nfe", "seeds", "images")


@cache
def columns() -> tuple[Column, ...]:
    """All columns there are, those with a name of their own before those that a pattern stands for."""
    parts: Sequence[tuple[Mapping[str, str], Sequence[str]]] = (
        (_SETTING, (CELLS, TABLE, MODES)),
        (_BOTH, (CELLS, TABLE)),
        (_RECORD, (CELLS,)),
        (_ROW, (TABLE,)),
        (_MODE, (MODES,)),
        (_PUBLISHED_VALUE, (PUBLISHED,)),
        (_INTERVAL, (TABLE,)),
        (_DERIVED, (CELLS, TABLE)),
    )
    found = [
        Column(name, tuple(dict.fromkeys((*files, *_more(name)))), meaning)
        for part, files in parts
        for name, meaning in part.items()
    ]
    return tuple(sorted(found, key=lambda each: "<" in each.name))


def _more(name: str) -> list[str]:
    """Files that take a column from others."""
    return [MODES] * (name in _OF_A_SETTING) + [PUBLISHED] * (name in _OF_A_VALUE)


def meaning_of(column: str, file: str) -> Column | None:
    """The first entry that a column of a file fits; None if nothing says what it means."""
    return next((each for each in columns() if file in each.files and _pattern(each.name).fullmatch(column)), None)


@cache
def _pattern(name: str) -> re.Pattern[str]:
    return re.compile("".join(".+" if part.startswith("<") else re.escape(part) for part in re.split(r"(<\w+>)", name)))
