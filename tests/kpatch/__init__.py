"""The real kpatch-build, from our own patches to their effect in a running kernel.

A root folder with Debian's kpatch-build and cross compilers, kernels built by plain GCC, patches
built by the unmodified kpatch-build, and a boot of each kernel in which a program looks for each
patch's effect.  `python -m tests.kpatch --help` says which steps there are.
"""
