"""The one exception for what a user gave and we cannot use."""


class UsageError(ValueError):
    """Something given from outside (a name, a parameter, a file) cannot be used.

    The message names what was given, what was expected and what to do. The command line prints it alone, without a
    traceback, and ends with exit status 2.
    """
