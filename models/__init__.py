"""Networks and what they were trained on. What plugins import lies here: `schedule`, `grids`, `denoiser`,
`architectures`.

- `schedule` (alpha, sigma, the SDE), `vp_time`, `grids`, `denoiser`, `analytic` (networks in closed form)
- `architectures`: networks by name, a plugin's too; `networks`: those that come with it, and how they are executed
- `text`: text-to-image models: prompts, pipelines, embeddings
- `cards`: what a model folder says of itself; `loading`: from a name, folder or hub to a model; `zoo`, `extractors`:
  embedded
- `plugins`: registries, and code that is not ours; `common`: errors, files, what is written

Each imports only those below it: `loading`, `text`, `architectures`, `networks`, `cards`, the files here, `plugins`,
`common`.
"""
