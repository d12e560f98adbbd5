"""Builds the compiled parts, where a C compiler is at hand, and for the log OpenSSL's headers.

Without them the installation succeeds all the same, and pure Python takes their place.
"""

from Cython.Build import cythonize
from setuptools import Extension, setup

FLAGS = ["-O3", "-Wall", "-Wextra", "-Wno-unused-parameter"]
DNS_MODULES = ("facts", "table", "loading", "answering", "listener", "frames")

modules = cythonize(
    [
        *(
            Extension(
                f"secondary.dns.compiled.{module}",
                [f"secondary/dns/compiled/{module}.pyx"],
                define_macros=[("_GNU_SOURCE", "1")],
                extra_compile_args=FLAGS,
            )
            for module in DNS_MODULES
        ),
        Extension(
            "registry.compiled.bucket_tree",
            ["registry/compiled/bucket_tree.pyx"],
            libraries=["crypto"],
            extra_compile_args=FLAGS,
        ),
    ],
    build_dir="build/cython",
)
for module in modules:
    # Cython forgets it when it is said above.
    module.optional = True

setup(ext_modules=modules)
