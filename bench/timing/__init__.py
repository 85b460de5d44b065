"""Measuring, without knowing what a study is.

- time: `clock` (the only one, and the only synchronisation), `capture` (graphs), `bootstrap`, `cost` (columns of a
  record)
- disturbances: `monitor`, with `host_load` and `gpu_state`
- limits: `memory` (the batch that fits, and the fastest one), `tuning`, `flops`
"""
