"""Where the cells of a run are measured, which is no part of what determines them.

- `base`: what a run asks of an executor; `in_process`: this process, one cell after the other
- `remote`: workers, each with a device of its own, that get pieces of work (`pieces`) one at a time; `crew`: all of
  them, how they come and end; `worker`: what one does; `messages`: what it is told and tells
- `local`: workers that are processes of this machine, of which one may crash; `cluster`: those of a Ray cluster
"""
