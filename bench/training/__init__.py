"""Everything that trains: the embedded models, and models and extractors of a user's own photographs.

- what is trained: `digits`, `oracle`, `cifar10`, `train_extractor`
- how: `job` (data, device, network), `options`, `recipe`, `losses`, `loop`, `checkpoint`, `loss_curve`, `views`
- what comes out: `export`, `cifar_export`, `card_quality`

Imports `run` and what is below it.
"""
