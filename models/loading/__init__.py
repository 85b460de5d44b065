"""From a name to a model: `sources` finds the folder and reads its card, `zoo` builds the network that the card says.

`hub` fetches, `diffusers_folder`, `text_folder` and `scheduler_config` read what has no card, `weights` reads tensors
and nothing else, `fitting` puts them into networks, `text_network` prompts beside these.
"""
