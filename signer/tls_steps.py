"""What OpenSSL says of a connection, apart from what other libraries have left behind.

SSL_get_error(3): "the current thread's error queue must be empty before the TLS/SSL I/O operation is attempted". The
HSM's module may use the same OpenSSL in the same threads, and leaves errors there (SoftHSM looks for an engine that is
not there each time that it is initialised). Where a connection then only has nothing to say yet, that error is told as
if it were the connection's, which would be ended.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_OF_TLS: Final = (None, "SSL")
Result = TypeVar("Result")


def of_the_connection(step: Callable[[], Result]) -> Result:
    """What a step of a socket gives or raises; once more where it raised what is no error of TLS.

    Python empties the queue when it raises. A connection that did fail says so again.
    """
    try:
        return step()
    except ssl.SSLError as error:
        if error.library in _OF_TLS:
            raise
        return step()
