"""From records to rows: what is compared, how sure it is, and what follows.

- in: `runs` (a run folder as the report reads it), `rows` (cells to rows of the table), `fronts` (which are ranked with
  one another, and which are best), `section` (the rows of one protocol), `summary` (all of it)
- what is asked for: `view`, and in it the `selection` of rows; `references`, what is to be cited of what was used
- names: `columns` (what rows and protocols go by), `distances` (qualities), `text` (numbers and columns as text)
- how sure it is: `significance` (of a row), `gaps` (of a difference), `pairs` (all differences of a run)
- what follows: `answer`; `looks` (what a run whose images grow decides) and `decided` (its answer, who was left out);
  `budgets` (samplers by budget, as papers print them); `compare` (two runs) and `changes` (what became better, or
  worse); `modes` and `published` (papers' values), each with its table;
  `series` (lines of figures) and `sweeps` (those along the scale of a guidance)
- for programs: `datapackage` (what the columns of the CSV files are)
"""
