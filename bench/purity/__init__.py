"""What samplers share, and must leave as they found it: looked at before a call and after it, and put back.

`unchanged` does that for a run and for the conformance suite. What is looked at: `process` (the working directory, the
environment, random generators, ...), `torch_settings` (dtype, threads, backends, autograd's modes, ...), and `weights`,
the networks themselves, which take longer. `aspect` says what all of these are.
"""
