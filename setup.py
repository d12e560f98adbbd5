"""Builds the compiled part of the DNS server, where a C compiler is at hand.

Without one the installation succeeds all the same, and the server runs in pure Python.
"""

from Cython.Build import cythonize
from setuptools import Extension, setup

MODULES = ("facts", "table", "loading", "answering", "listener")

modules = cythonize(
    [
        Extension(
            f"secondary.dns.compiled.{module}",
            [f"secondary/dns/compiled/{module}.pyx"],
            define_macros=[("_GNU_SOURCE", "1")],
            extra_compile_args=["-O3", "-Wall", "-Wextra", "-Wno-unused-parameter"],
        )
        for module in MODULES
    ],
    build_dir="build/cython",
)
for module in modules:
    # Cython forgets it when it is said above.
    module.optional = True

setup(ext_modules=modules)
