"""Counter-based noise: image i's is a function of (seed, i, draw number) alone.

`stream` is what samplers are given, `philox` the generator, `kernel` the same in one kernel for GPUs, `path` a Brownian
path that is the same for any steps, `class_labels` the classes of images, drawn in the same way.
"""

OWN_SEEDS = 2**62
"""Seeds from here on are the harness's: of checks, floors and fits, whose images no study measures."""
