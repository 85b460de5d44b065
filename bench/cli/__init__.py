"""The commands: arguments in, calls, messages out; nothing else is decided here.

`entry` is where the program begins, `app` has the commands, `options` what several of them take, and each other file
what one of them, or a few alike, does. Everything heavy is imported when a command runs. May import all of `bench`.
"""
