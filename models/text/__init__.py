"""Text-to-image models: prompts in, embeddings beside the network, which is then a network with labels like others.

- `prompts`: what images are made of, from a file of lines or a table; image i takes prompt i mod n, its label
- `pipelines`: the pipelines of diffusers that are known, of what parts, and why others are refused
- `encoders`: the text encoders of a folder; `encoding`: what they make of prompts, worked out once and kept on disk
- `prompted`: a network that looks the embeddings of its labels up, called as every network here is
"""
