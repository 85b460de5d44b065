"""From a name to a model: `zoo` loads, after `sources` has found the folder and `description` its card.

`hub` fetches, `diffusers_folder` and `scheduler_config` read what has no card, `weights` reads tensors and nothing
else, `fitting` puts them into networks, `building` makes those.
"""
