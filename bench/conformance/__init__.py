"""What must be true of every sampler, and whether a model is what its card says.

- samplers: `suite` has the checks, `check` runs one; `law_checks`, `repeat_checks`, `purity_checks`, and `laws`, the
  data laws in closed form that decide them; `convergence` draws a solver's order, `strong` measures that of solvers of
  the reverse SDE on one Brownian path
- models: `model_check`, with `model_inputs` for what it ignores; `model_fit`, `model_guesses` and `model_verdicts` for
  how its output is read; `model_orders` for what order images and classes are in, with `model_errors` image by image,
  `model_views` and `model_classes`, `model_labels` where classes are not known, and `model_chance`

Imports `quality`, `timing`, `purity`, `noise`, samplers and models; knows no study.
"""
