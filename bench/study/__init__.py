"""What is asked: `study` is the schema, of `fields`; `file` reads TOML and the command line, `validation` finds all
errors at once.

`plan` takes the product of a study, here and nowhere else; `placement` tells whether a cell's sampler, grid and model
fit together. Imports no torch, so that whoever plans does not wait for it.
"""
