"""From object code to memory that runs, on Linux with an x86-64 processor.

LLVM could do this too, but takes 40 ms to be loaded: code from the disk starts without it. Linked
code may lie anywhere in memory: only the addresses of other libraries' functions, and pointers to
its own, are written when it is loaded. The structures are those of the System V ABI, AMD64
Architecture Processor Supplement 1.0, chapter 4, and of the generic ABI, chapters 4 and 5.
"""

from __future__ import annotations

import ctypes
import marshal
import mmap
import platform
import struct
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from pullback.compiler.runtime.lapack import PREFIX, routines
from pullback.errors import CompileError

__all__ = ["IS_KNOWN", "NOTHING", "Code", "link"]

IS_KNOWN = sys.platform == "linux" and platform.machine() == "x86_64"  # else LLVM links

TABLE = struct.Struct("<40xQ12xHH")  # of a file's header: where its sections are, how many
SECTION = struct.Struct("<IIQQQQIIQQ")
SYMBOL = struct.Struct("<IBBHQQ")
RELOCATION = struct.Struct("<QIIq")
SYMBOLS, RELOCATIONS = 2, 4  # types of sections
WRITABLE, LOADED = 1, 2  # flags of sections
LOCAL = 0  # the binding of symbols that other files do not see
ABSOLUTE = 1  # types of relocations: R_X86_64_64
RELATIVE = 2, 4  # _PC32, _PLT32
SLOT = 9, 41, 42  # _GOTPCREL, _GOTPCRELX, _REX_GOTPCRELX
JUMP = b"\xff\x25\x02\0\0\0\0\0"  # to the address that follows it


class Section(NamedTuple):
    """A section of an object file, and what its name is."""

    name: str
    type: int
    flags: int
    data: bytes
    link: int
    info: int
    alignment: int


def sections_of(code: bytes) -> list[Section]:
    start, n, names = TABLE.unpack_from(code)
    heads = list(SECTION.iter_unpack(code[start : start + n * SECTION.size]))
    text = heads[names][4]
    return [
        Section(
            name_at(code, text + name),
            type,
            flags,
            code[offset : offset + size],
            other,
            info,
            max(alignment, 1),
        )
        for name, type, flags, _, offset, size, other, info, alignment, _ in heads
    ]


def name_at(text: bytes, start: int) -> str:
    return text[start : text.index(b"\0", start)].decode()


class Linker:
    """Puts the sections of several object files one after the other."""

    def __init__(self) -> None:
        self.code = bytearray()
        self.exports: dict[str, int] = {}
        self.imports: dict[str, int] = {}  # and where their addresses are written
        self.pointers: list[int] = []  # where the address of the code is added
        self.slots: dict[int, int] = {}  # where the address of something is, by its own

    def append(self, data: bytes, alignment: int) -> int:
        """Where data of a file are from now on."""
        self.code += bytes(-len(self.code) % alignment)
        self.code += data
        return len(self.code) - len(data)

    def place(self, sections: Sequence[Section]) -> dict[int, int]:
        """Where the sections of a file are that belong into memory, by their numbers."""
        places = {}
        for i, section in enumerate(sections):
            if section.flags & LOADED:
                if section.flags & WRITABLE and not section.name.startswith(".data.rel.ro"):
                    raise CompileError(f"native code would write into its section {section.name}")
                places[i] = self.append(section.data, section.alignment)
        return places

    def export(self, sections: Sequence[Section], places: dict[int, int]) -> None:
        """Note the symbols of a file that others may refer to."""
        for name, info, section, value in symbols_of(sections):
            if section in places and info >> 4 != LOCAL:
                self.exports[name] = places[section] + value

    def addresses(self, sections: Sequence[Section], places: dict[int, int]) -> list[int]:
        """Those of all symbols of a file; functions of libraries have a jump to them."""
        found = []
        for name, _, section, value in symbols_of(sections):
            if section in places:
                found.append(places[section] + value)
            elif section or not name:
                found.append(0)  # what is not loaded has no address
            elif name in self.exports:
                found.append(self.exports[name])
            else:
                if name not in self.imports:
                    self.imports[name] = self.append(JUMP + bytes(8), 16) + len(JUMP)
                found.append(self.imports[name] - len(JUMP))
        return found

    def relocate(self, sections: Sequence[Section], places: dict[int, int]) -> None:
        """Write the addresses of symbols where a file refers to them."""
        addresses = self.addresses(sections, places)
        for section in sections:
            if section.type == RELOCATIONS and section.info in places:
                for offset, kind, symbol, addend in RELOCATION.iter_unpack(section.data):
                    self.refer(kind, places[section.info] + offset, addresses[symbol], addend)

    def refer(self, kind: int, place: int, address: int, addend: int) -> None:
        if kind in RELATIVE:
            struct.pack_into("<i", self.code, place, address + addend - place)
        elif kind in SLOT:
            struct.pack_into("<i", self.code, place, self.slot(address) + addend - place)
        elif kind == ABSOLUTE:
            struct.pack_into("<q", self.code, place, address + addend)
            self.pointers.append(place)
        else:
            raise CompileError(f"native code has a relocation of an unknown type, {kind}")

    def slot(self, address: int) -> int:
        if address not in self.slots:
            self.slots[address] = self.append(address.to_bytes(8, "little"), 8)
            self.pointers.append(self.slots[address])
        return self.slots[address]


def symbols_of(sections: Sequence[Section]) -> list[tuple[str, int, int, int]]:
    """Name, binding and type, section and value of all symbols."""
    (table,) = (section for section in sections if section.type == SYMBOLS)
    names = sections[table.link].data
    return [
        (name_at(names, name), info, section, value)
        for name, info, _, section, value, _ in SYMBOL.iter_unpack(table.data)
    ]


def link(objects: Sequence[bytes]) -> bytes:
    """Linked code of object files that refer to each other, for :class:`Code`.

    Raises:
        CompileError: if they hold what this linker does not know.
    """
    linker = Linker()
    files = [sections_of(code) for code in objects]
    placed = [linker.place(sections) for sections in files]
    for sections, places in zip(files, placed, strict=True):
        linker.export(sections, places)
    for sections, places in zip(files, placed, strict=True):
        linker.relocate(sections, places)
    return marshal.dumps((linker.exports, linker.imports, linker.pointers, bytes(linker.code)))


NOTHING = marshal.dumps(({}, {}, [], b"\xc3"))  # linked code that returns at once


class Code:
    """Linked code in memory that runs, for as long as this object lives.

    Raises:
        CompileError: if a library's function is missing, or this process may not run new code.
    """

    def __init__(self, linked: bytes) -> None:
        self.exports, imports, pointers, code = marshal.loads(linked)
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        memory = mmap.mmap(-1, len(code), private, mmap.PROT_READ | mmap.PROT_WRITE)
        memory[:] = code
        self.memory: Any = ctypes.c_char.from_buffer(memory)
        self.start = ctypes.addressof(self.memory)
        for place in pointers:
            (address,) = struct.unpack_from("<q", code, place)
            struct.pack_into("<q", memory, place, self.start + address)
        for name, place in imports.items():
            struct.pack_into("<q", memory, place, function_address(name))
        n_bytes, runs = ctypes.c_size_t(len(code)), mmap.PROT_READ | mmap.PROT_EXEC
        if libc().mprotect(ctypes.c_void_p(self.start), n_bytes, runs):
            raise CompileError("this process may not run code that it has made")

    def address(self, name: str) -> int:
        """Where a function is."""
        offset: int = self.exports[name]
        return self.start + offset


def libc() -> Any:
    """The libraries that Python itself has loaded: those of C."""
    return ctypes.CDLL(None)


def function_address(name: str) -> int:
    if name.startswith(PREFIX):
        return routines()[name.removeprefix(PREFIX)]
    try:
        return ctypes.cast(getattr(libc(), name), ctypes.c_void_p).value or 0
    except AttributeError as error:
        raise CompileError(f"this machine's library of C has no {name}") from error
