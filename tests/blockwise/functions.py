"""What processes of tests compute: in a module that imports nothing heavy."""

import os


def squared(number: int) -> int:
    return number * number


def end_yourself(_: int) -> None:
    os._exit(3)
