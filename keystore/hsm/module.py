"""A PKCS#11 module in this process: loaded once, initialised for threads, one state of it at a time.

One process holds one initialised state per module, whoever asks: `Module.epoch` counts initialisations, so that an
object of python-pkcs11 from an earlier one is never used in a later one, where its handle may be another key's.
"""

from __future__ import annotations

import ctypes
import os
import threading
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Final

import pkcs11
from pkcs11 import PKCS11Error

from keystore.hsm.gate import Gate
from keystore.hsm.native import Native
from keystore.hsm.return_values import CryptokiError, ReturnValue, cryptoki_error

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pkcs11 import _pkcs11


class Module:
    """One PKCS#11 library; `load_module` gives the only one of its path. It is never unloaded.

    `gate` keeps ordinary calls and initialisation apart: use it round everything. `turn` stands round each call; it is
    a lock only where the module cannot lock for itself.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.native = Native(path)
        self.gate = Gate()
        self.epoch = 0
        self.turn: AbstractContextManager[object] = nullcontext()
        self._library: _pkcs11.lib | None = None

    @property
    def library(self) -> _pkcs11.lib:
        """python-pkcs11's own object. Raises: `CryptokiError` before the first initialisation."""
        if self._library is None:
            raise CryptokiError("C_GetSlotList", ReturnValue.CRYPTOKI_NOT_INITIALIZED)
        return self._library

    def initialise(self, environment: Mapping[str, str]) -> int:
        """(Re-)initialises the module for threads and returns the new epoch. Only inside `gate.exclusive()`.

        `environment` is what the module reads its settings from, such as SOFTHSM2_CONF. Raises: `CryptokiError`.
        """
        os.environ.update(environment)
        self.epoch += 1
        self.turn = nullcontext()
        if self._library is None:
            self._library = self._loaded()
        code = self.native.initialise(threads=True)
        if code == ReturnValue.CRYPTOKI_ALREADY_INITIALIZED:
            self.finalise()
            code = self.native.initialise(threads=True)
        if code == ReturnValue.CANT_LOCK:
            # The module cannot lock for itself: one lock for the whole process, and it is told of no threads.
            self.turn = threading.RLock()
            code = self.native.initialise(threads=False)
        if code:
            raise CryptokiError("C_Initialize", code)
        return self.epoch

    def finalise(self) -> None:
        """Ends the initialised state; every handle of it is dead. Only inside `gate.exclusive()`."""
        self.epoch += 1
        self.native.finalise()

    def _loaded(self) -> _pkcs11.lib:
        """The library's object, made once. It initialises the module as single-threaded, which is ended at once."""
        self.native.finalise()
        try:
            library = pkcs11.lib(str(self.path))
        except PKCS11Error as error:
            raise cryptoki_error("C_Initialize", error) from error
        # Its destructor would finalise and unload the module at the end of this process, or of a child, past the gate.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(library))
        self.native.finalise()
        return library


_modules: Final[dict[Path, Module]] = {}
_loading: Final = threading.Lock()


def load_module(path: Path) -> Module:
    """The module of this path, loaded once in the life of the process. Raises: `ConfigurationError`."""
    with _loading:
        real = path.resolve()
        if real not in _modules:
            _modules[real] = Module(real)
        return _modules[real]
