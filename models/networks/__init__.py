"""Networks: `network` is how samplers' models see one, `modes` and `execution` how it is run.

`vae` is a generator; `classifier` gives features.
"""
