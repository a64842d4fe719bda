"""The command line: `farebox COMMAND`. Every command has --help, and --json where it reports something."""

from __future__ import annotations

import os
import sys

from farebox.errors import FareboxError

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its exit status: 0 done, 1 an error that was explained, 2 a misuse, 130 interrupted."""
    from farebox.cli.commands import build

    try:
        build()(args=arguments, prog_name="farebox")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except FareboxError as error:
        print(f"farebox: {error}", file=sys.stderr)
        print(f"({error.code}: see docs/errors.md)", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output left; nothing more can be said to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
