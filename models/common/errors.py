"""The exceptions for what a user gave and we cannot use, for what a plugin does, and for what cannot be written."""


class UsageError(ValueError):
    """Something given from outside (a name, a parameter, a file) cannot be used.

    The message names what was given, what was expected and what to do. The command line prints it alone, without a
    traceback, and ends with exit status 2.
    """


class PluginError(UsageError):
    """A plugin raised, or is or says what nobody can use; the message names it, with file and line."""


class Notice(UserWarning):
    """What is done otherwise than somebody may think, in a sentence; the command line prints that alone, once."""


class NotWritten(OSError):
    """A file of ours could not be written; names it. Unlike other errors of the system it is never a sampler's."""
