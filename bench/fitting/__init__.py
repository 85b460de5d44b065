"""What is fitted to a model before it is used: the model as a fit sees it, and tight solutions of its flow.

- `flow`: the probability flow, solved;
- `model`: a model as what is fitted to it sees it, whose evaluations are counted.

What there is to fit lies beside what uses it: `models.fitted`, `models.grids.fitted`, `samplers.x0_variance`.
"""
