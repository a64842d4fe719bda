"""Every error Farebox raises on purpose: one tree, stable codes, a message that says what to do.

`code` is what programs compare and what docs/errors.md explains; it never changes its meaning.
Messages are for people: what happened, then what to do about it.
"""

from __future__ import annotations

from typing import ClassVar


class FareboxError(Exception):
    """Root of the tree. `code` is stable; `str(error)` says what happened and what to do."""

    code: ClassVar[str] = "FAREBOX_ERROR"


class ConfigInvalidError(FareboxError):
    """The configuration cannot be used; `problems` holds every finding, one sentence each."""

    code = "CONFIG_INVALID"

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class CardInvalidError(FareboxError):
    """A rate card cannot be used; each problem names file, line and rule."""

    code = "CARD_INVALID"

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class UnknownNameError(FareboxError):
    """A name (card, plan, org, user, app, key ...) that does not exist here."""

    code = "UNKNOWN_NAME"


class NameTakenError(FareboxError):
    """The name exists already and must be unique."""

    code = "NAME_TAKEN"


class DataVersionError(FareboxError):
    """A data file was written by another version of Farebox and cannot be used as it is."""

    code = "DATA_VERSION"


class DataDirectoryError(FareboxError):
    """The data directory cannot be created, written or locked."""

    code = "DATA_DIRECTORY"


class AddressInUseError(FareboxError):
    """The address to listen on is taken or not allowed."""

    code = "ADDRESS_IN_USE"


class TlsFilesError(FareboxError):
    """A certificate, key or CA file cannot be used; the message names the file."""

    code = "TLS_FILES"


class NotRunningError(FareboxError):
    """There is no `farebox serve` to be asked, or it does not answer."""

    code = "NOT_RUNNING"


class JournalError(FareboxError):
    """The journal cannot take or give entries."""

    code = "JOURNAL"


class JournalCorruptError(JournalError):
    """A record below the durable mark does not match its checksum: shipping of that segment stops."""

    code = "JOURNAL_CORRUPT"

    def __init__(self, message: str, *, path: str = "", offset: int = 0) -> None:
        super().__init__(message)
        self.path = path
        self.offset = offset


class JournalFullError(JournalError):
    """No room for another entry: the disk or `journal_bytes_max` is exhausted."""

    code = "JOURNAL_FULL"


class QuotaUnavailableError(FareboxError):
    """The quota store cannot be read or written now; repeating is safe. `why`: the store's own words, for callers."""

    code = "QUOTA_UNAVAILABLE"

    def __init__(self, message: str, *, why: str = "") -> None:
        super().__init__(message)
        self.why = why


class QuotaProtocolError(FareboxError):
    """A sync broke the protocol (a retry that differs, a closed incarnation): a bug, never retried."""

    code = "QUOTA_PROTOCOL"


class UsageUnavailableError(FareboxError):
    """The usage store cannot be opened or read."""

    code = "USAGE_UNAVAILABLE"


class ConsoleUnavailableError(FareboxError):
    """The console cannot be reached or refused the question."""

    code = "CONSOLE_UNAVAILABLE"


class SignInRefusedError(FareboxError):
    """Login and password do not belong together."""

    code = "SIGN_IN_REFUSED"


class SignInThrottledError(FareboxError):
    """Too many failed sign-ins from this address or for this login."""

    code = "SIGN_IN_THROTTLED"

    def __init__(self, *, retry_after_seconds: int) -> None:
        super().__init__(f"too many failed sign-ins; wait {retry_after_seconds} seconds and try again")
        self.retry_after_seconds = retry_after_seconds


class LinkInvalidError(FareboxError):
    """A one-time link was used already, is too old or was replaced by a newer one."""

    code = "LINK_INVALID"


class PasswordUnfitError(FareboxError):
    """A password is too short or too long."""

    code = "PASSWORD_UNFIT"


class ConsoleBusyError(FareboxError):
    """As many pages as the console keeps up to date are open already."""

    code = "CONSOLE_BUSY"
