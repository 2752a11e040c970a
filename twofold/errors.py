"""The one error that means: the input is at fault, not the program."""


class InputError(ValueError):
    """Raised for input that twofold cannot use. The message is one sentence: the bad value, and what would be right.

    The command line prints it without a traceback and exits with code 2.
    """
