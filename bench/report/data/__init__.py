"""From records to rows: what is compared, how sure it is, and what follows.

- in: `runs` (a run folder as the report reads it), `group`, `aggregate` (cells to rows), `summary` (all of it)
- rows: `columns` (the names that all go by), `distances`, `row_cost`, `protocol`, `significance`, `timing_warnings`
- what follows: `answer`, `compare` (two runs), `mode_effects`, `published` (papers' values), `series` (lines of
  figures)
"""
