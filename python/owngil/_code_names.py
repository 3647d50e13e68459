# SPDX-License-Identifier: BSD-3-Clause
"""What a code object, with everything nested in it, takes from its surroundings and does to them.

Not: exact about what it does. `stores` is said too often rather than too rarely.
"""

from __future__ import annotations

import dis
import weakref
from types import CodeType
from typing import NamedTuple

__all__ = ["CodeNames", "code_names"]

# LOAD_NAME: the body of a class that a function makes; it may mean a global.
_READS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
_STORES = {"STORE_GLOBAL", "DELETE_GLOBAL"}
_CELL_STORES = {"STORE_DEREF", "DELETE_DEREF"}
_ATTRIBUTE_STORES = {"STORE_ATTR", "DELETE_ATTR"}
_STORING_BUILTINS = {"setattr", "delattr", "globals"}


class CodeNames(NamedTuple):
    globals: tuple[str, ...]  # read or stored, in the order of the code
    # To a global, to a variable of an enclosing function, or to an attribute of anything but a
    # local variable (which may be a class or a function that outlives the call).
    stores: bool
    stores_attributes: bool  # of anything


_cache: weakref.WeakKeyDictionary[CodeType, CodeNames] = weakref.WeakKeyDictionary()


def code_names(code: CodeType) -> CodeNames:
    found = _cache.get(code)
    if found is None:
        search = _Search(frozenset(code.co_freevars))
        search.visit(code)
        found = CodeNames(tuple(search.names), search.stores, search.stores_attributes)
        _cache[code] = found
    return found


class _Search:
    def __init__(self, enclosing: frozenset[str]) -> None:
        self._enclosing = enclosing
        self.names: dict[str, None] = {}
        self.stores = False
        self.stores_attributes = False

    def visit(self, code: CodeType) -> None:
        instructions = list(dis.get_instructions(code))
        for index, instruction in enumerate(instructions):
            kind = instruction.opname
            if kind in _READS or kind in _STORES:
                self.names[instruction.argval] = None
                self.stores |= kind in _STORES or instruction.argval in _STORING_BUILTINS
            elif kind in _CELL_STORES:
                self.stores |= instruction.argval in self._enclosing
            elif kind in _ATTRIBUTE_STORES:
                self.stores_attributes = True
                self.stores |= not _is_of_local(instructions, index)
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self.visit(constant)


def _is_of_local(instructions: list[dis.Instruction], store: int) -> bool:
    """Whether the object whose attribute is stored was loaded from a local variable."""
    loaded = store - 1
    if instructions[loaded].opname == "SWAP":
        # `x.n += 1` loads x, copies it, loads n from the copy, adds and stores.
        name = instructions[store].argval
        while loaded > 0 and not (
            instructions[loaded].opname == "LOAD_ATTR"
            and instructions[loaded].argval == name
            and instructions[loaded - 1].opname == "COPY"
        ):
            loaded -= 1
        loaded -= 2
    return loaded >= 0 and "LOAD_FAST" in instructions[loaded].opname
