"""What samplers share, and must leave as they found it: looked at before a call and after it, and put back.

`unchanged` does that for a run and for the conformance suite, and for the time of a call alone what decides on how a
network is evaluated. What is looked at: `process` (the working directory, the environment, random generators, ...),
`torch_settings` (dtype, threads, backends, autograd's modes, ...), `definitions`, which somebody may have replaced, and
what a sampler keeps in itself, and, which takes longer, `weights`, the networks themselves. What these are: `aspect`.
`plugins` loads plugin files, whose import is looked at so too; `tables` is what a plugin's sampler keeps outside of
itself, which is only told.
"""
