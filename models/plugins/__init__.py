"""Registered things, and code that is not ours.

`registry` has names with parameters, which `specs` takes apart, `names` their rules, `plain` what a record can hold of
them, `bibtex` what can be cited of them; `modules` loads plugin files, `foreign` keeps what they do from costing a run.
"""
