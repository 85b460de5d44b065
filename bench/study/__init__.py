"""What is asked: `study` is the schema, of `fields` and `metrics`; `file` reads TOML, and `overrides` the command
line, to a `content`, in which `validation` finds all errors at once, and `measured` those of what is
measured, as `findings`.

`plan` takes the product of a study, here and nowhere else; `evaluations` tells what a sampler takes under a guidance,
`placement` whether a cell's sampler, grid, guidance and model fit together, and `idle` which guidances do nothing.
Imports no torch, so that whoever plans does not wait for it, but to rehearse a sampler under a guidance that depends on
the level.
"""
