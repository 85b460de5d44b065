"""What is shown: `blocks`, one list of tables with what stands around them, as `markup`, `tex` (whose tables are of
`tabular`) and `terminal` render it.

`paper` has samplers by budget, `table` the rows of a section, `leaderboard` the short form of a long one, `notes` and
`cost_notes` what a reader of them must know, `remarks` what there is to say of single cells; `comparison` has two runs
beside one another.
"""
