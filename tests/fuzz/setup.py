"""Builds what fuzzes the AF_XDP front: `python tests/fuzz/setup.py build_ext`, at the root."""

from Cython.Build import cythonize
from setuptools import Extension, setup

setup(
    name="fuzzed-frames",
    ext_modules=cythonize(
        [
            Extension(
                "fuzzed_frames",
                ["tests/fuzz/fuzzed_frames.pyx"],
                define_macros=[("_GNU_SOURCE", "1")],
                include_dirs=["tests/fuzz"],
            )
        ],
        build_dir="build/cython",
        include_path=[".", "secondary/dns/compiled"],
    ),
)
