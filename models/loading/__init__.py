"""From a name to a model: `sources` finds the folder and reads its card, `zoo` builds the network that the card says.

`hub` fetches; `layout` finds the parts of what has no card, `diffusers_folder`, `text_folder` and `scheduler_config`
read them; `weights` reads tensors and nothing else, `fitting` puts them into networks; `decoders` makes what decodes
latents, `exact` laws in closed form, `text_network` prompts beside a network.
"""
