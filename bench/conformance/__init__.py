"""What must be true of every sampler, and whether a model is what its card says.

- samplers: `suite` has the checks, `check` runs one; `law_checks`, `repeat_checks`, `purity_checks`, and `laws`, the
  data laws in closed form that decide them; `convergence` draws a solver's order, `strong` measures that of solvers of
  the reverse SDE on one Brownian path
- models: `model_check`, with `model_fit`, `model_guesses`, `model_verdicts`, and `model_orders` for what order
  images and classes are in

Imports `quality`, `timing`, `purity`, `noise`, samplers and models; knows no study.
"""
