"""First contact with a GPU: what ten minutes of one can show, every finding kept the moment it exists.

    PYTHONPATH=tests/cuda python -m ten_minutes --minutes 9.3 --out DIR --data FOLDER [--only STAGE,...]
    PYTHONPATH=tests/cuda python -m ten_minutes --rehearse --out DIR

`stages` names what is run and for how long at most; `__main__` runs each stage in a process of its own and packs what
it leaves; `job` is what a stage is told. Then a file a stage: `contact`, `speed`, `training`, `study`; `prepare` has
what runs beside the first of them. `summary` says in words what was found. README.md one folder above has the commands.

It is not called `tests.cuda.ten_minutes`: torch-fidelity installs a package `tests`, which is found before this folder.
"""

import sys
from pathlib import Path

# what other tests are made of lies in these folders, which are no packages
sys.path[:0] = [
    str(Path(__file__).parents[1]),
    *(str(Path(__file__).parents[2] / name) for name in ("helpers", "benchmarks")),
]
