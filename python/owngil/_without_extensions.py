# SPDX-License-Identifier: BSD-3-Clause
"""Packages that import in an interpreter although it is refused what they have in C.

They go on without it, and say nothing: slow, or broken. So the user is told, once a host, by name.

Threads: any, with the GIL.
Not: packages that do not import then; whoever needs one gets an error with the way out.
"""

from __future__ import annotations

from . import _core, _refused_imports

__all__ = ["tell_of_refusals"]


# The package; how the full names of its modules in C begin; what it is without them. Measured with
# CPython 3.13.0 and the release named, with and without what is in C; none is known that differs.
_PACKAGES = (
    # 3.14.5: HttpRequestParserPy and HttpRequestParserC, 50 requests
    ("aiohttp", "aiohttp._", "it parses HTTP in pure Python, 4 times slower"),
    # 7.36.2: api_implementation.Type() is "python"; a Struct of 500 lists
    (
        "google.protobuf",
        "google._upb.",
        "it encodes and decodes in pure Python, 300 times slower",
    ),
    # 1.2.4: msgpack.fallback; 2,000 small dicts
    (
        "msgpack",
        "msgpack._cmsgpack",
        "it packs and unpacks in pure Python, 40 to 50 times slower",
    ),
    # 2.1.0: DataFrame() raises NameError: name 'PySeries' is not defined
    ("polars", "_polars_runtime", "it is broken: most of what it has fails with NameError"),
    # 17.4: apply_mask of 100 bytes and of 1 MB
    (
        "websockets",
        "websockets.speedups",
        "it masks frames in pure Python, 9 to 160 times slower",
    ),
    # 6.0.4: __with_libyaml__ is False; CSafeLoader and SafeLoader, 200 dicts
    (
        "yaml",
        "yaml._yaml",
        "it has no CLoader and no CDumper, and pure Python is 8 times slower",
    ),
)


def tell_of_refusals() -> None:
    _refused_imports.subscribe(_on_refusal)


def _on_refusal(name: str, error: ImportError) -> None:
    for package, extension, then in _PACKAGES:
        if name.startswith(extension):
            _core.note_once(
                f'owngil: {package} is not whole in a worker of kind="interpreter": '
                f"its modules in C do not load there, so {then}. "
                'With Pool(kind="process") it is whole.'
            )
