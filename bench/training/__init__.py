"""Everything that trains: the embedded models, and models and extractors of a user's own photographs.

- what is trained: `digits`, `conditional`, `oracle`, `cifar10` (with `unet`), `extractor`
- how: `options` (what commands are told), `data`, `recipe`, `losses`, `loop`, `checkpoint`
- what is seen of it: `loss_curve`, `samples`; what comes out: `folder`, weights with their card

Imports `running` and what is below it.
"""
