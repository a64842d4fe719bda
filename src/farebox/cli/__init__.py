"""The command line: `farebox COMMAND`. Every command has --help, and --json where it reports something."""

from __future__ import annotations

import sys

from farebox.errors import FareboxError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its exit status: 0 done, 1 an error that was explained, 2 a misuse, 130 interrupted."""
    from farebox.cli.commands import build

    try:
        result = build()(args=arguments, standalone_mode=False)
    except FareboxError as error:
        print(f"farebox: {error}", file=sys.stderr)
        print(f"({error.code}: see docs/errors.md)", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as error:  # noqa: BLE001 - click is imported only when there is something to explain; bugs go on up
        return _misuse(error)
    return result if isinstance(result, int) else 0


def _misuse(error: Exception) -> int:
    """Explain what click found wrong with the command line; anything else is a bug and goes on up."""
    import click

    if isinstance(error, click.Abort):
        print("farebox: stopped", file=sys.stderr)
        return 130
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    raise error
