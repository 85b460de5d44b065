"""What samplers share, and must leave as they found it: looked at before a call and after it, and put back.

`unchanged` does that for a run and for the conformance suite. What is looked at: `process` (the working directory, the
environment, random generators, ...), `torch_settings` (dtype, threads, backends, autograd's modes, ...), and, which
takes longer, `weights`, the networks themselves, and `functions`, which somebody may have replaced by their own. What
all of these are says `aspect`; `evaluation` looks at what is changed for the time of a call alone.
"""
