"""`run_bench.py versus`: this harness beside what people use, on the same network, alternating in one process.

`options` is what the command is told, `contest` what it does, `sampling` a batch and `end_to_end` a whole score; `ours`
and `peers` are the sides, `baseline_pipeline` what people do today, `pairs` which method is which, `turns` the rounds.
Imports `running` and what is below it.
"""
