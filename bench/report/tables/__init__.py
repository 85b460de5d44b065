"""The tables. What they show is decided in `display`, so that Markdown, LaTeX, HTML (`markup`) and terminal agree.

`leaderboard` is the short form of a long one, `mode_table` and `published_table` two more, `notes` what a reader must
know.
"""
