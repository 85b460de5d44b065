"""How a study is carried out: first the images of every cell, scored and recorded, then all times in rounds.

- `runner` goes through the cells of all `stages` (the looks of a study), until its `deadline`; `session` is what they
  share: models, extractor, reference, device
- one cell: `resolve` (sampler, levels, identity), `trajectory` (its `sample` call), `generation`, `score`, `cell`,
  `measuring` (whatever goes wrong), `recording` (its record), `saving` (all its images, if that is asked for); `part`
  (what some of its images have come to), `growth` (what is kept of images that will be more), `fit` (what a sampler
  needs to know of a model before, at a cost of its own), `solution` (the exact flow that solver errors are measured
  from)
- `executors`: who measures cells: this process, others of this machine, or those of a cluster
- times: `rounds`, with `same_images` and `study_flops`; before all of it `first_look`, `estimate`
- `telling`: what is said of it meanwhile
- `merge`: one run of the records of several, such as the parts of a study
- `code_hash`, `closure`, `layers`, `named_files`: which code a result comes from; `attempts`, `lock`: crashes, two runs
  on a folder

Imports `conformance` (the checks of models) and what is below it; of `report` only what a look decides.
"""
