"""Where in the user's code an operation comes from."""

from __future__ import annotations

import linecache
import os
import sys
from opcode import _nb_ops, opname  # type: ignore[attr-defined]
from os.path import basename
from types import CodeType, FrameType

import numpy as np

__all__ = ["Origin", "Source", "here", "is_own", "is_shown", "origin"]

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_NUMPY = os.path.dirname(os.path.abspath(np.__file__))
# Libraries that call the user's functions, or NumPy on the user's behalf. Found by the folder in
# which NumPy is installed, so that none is imported for its address.
_LIBRARIES = ("joblib", "matplotlib", "pandas", "scipy", "sklearn", "xarray")
_OWN_FOLDERS = tuple(
    folder + os.sep
    for folder in (
        _HERE,
        _NUMPY,
        *(os.path.join(os.path.dirname(_NUMPY), name) for name in _LIBRARIES),
    )
)
_TESTING = os.path.join(_NUMPY, "testing") + os.sep
_is_own: dict[str, bool] = {}


class Source:
    """One line of user code, kept cheaply and spelled out only when asked for."""

    __slots__ = ("code", "instruction")

    def __init__(self, code: CodeType, instruction: int) -> None:
        self.code = code
        self.instruction = instruction

    @property
    def file(self) -> str:
        return self.code.co_filename

    @property
    def line(self) -> int:
        for position in list(self.code.co_positions())[self.instruction // 2 :: -1]:
            if position[0] is not None:
                return position[0]
        return self.code.co_firstlineno

    @property
    def text(self) -> str:
        return linecache.getline(self.file, self.line).strip()

    @property
    def operation(self) -> str:
        """Name of the bytecode instruction that ran: ``STORE_SUBSCR`` for ``a[i] = x``."""
        return opname[self.code.co_code[self.instruction]]

    @property
    def short(self) -> str:
        """``model.py:42``; in a notebook ``cell 3, line 2``."""
        cell = _cell(self.file)
        return f"cell {cell}, line {self.line}" if cell else f"{basename(self.file)}:{self.line}"

    def __str__(self) -> str:
        text = self.text
        return f"{self.short} in {self.code.co_name}" + (f": {text}" if text else "")


def _cell(file: str) -> int | None:
    """The number of the cell of a notebook that IPython compiled under this name."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    found: int | None = getattr(getattr(shell, "compile", None), "_filename_map", {}).get(file)
    return found


Origin = tuple[CodeType, int]


def is_own(code: CodeType) -> bool:
    """Whether ``code`` belongs to Pullback, to a library around NumPy or to Python's imports."""
    file = code.co_filename
    own = _is_own[file] = file.startswith((*_OWN_FOLDERS, "<frozen"))
    return own


def origin(depth: int = 1) -> Origin | None:
    """The innermost line of the user that led to this call, unread.

    ``depth`` frames, this one included, are known to be inside and are not looked at.
    """
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None:
        code = frame.f_code
        own = _is_own.get(code.co_filename)
        if own is None:
            own = is_own(code)
        if not own:
            return code, frame.f_lasti
        frame = frame.f_back
    return None


def here(inside: int = 0) -> Source | None:
    """The innermost line of the user that led to this call: outside Pullback, NumPy and SciPy.

    The last ``inside`` callers are known to be Pullback's, and are not looked at.
    """
    found = origin(2 + inside)
    return None if found is None else Source(*found)


def is_shown() -> bool:
    """Whether a value is only looked at: formatted (``"%f" % x``) or compared by ``np.testing``."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_OWN_FOLDERS[0]):
        frame = frame.f_back
    if frame is None:
        return False
    code, at = frame.f_code, frame.f_lasti
    if code.co_filename.startswith(_TESTING):
        return True
    return opname[code.co_code[at]] == "BINARY_OP" and _nb_ops[code.co_code[at + 1]][1] == "%"
