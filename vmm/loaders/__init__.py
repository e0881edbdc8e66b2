"""Loaders: from a kernel in a file to what lies where in guest memory and how the first vCPU starts.

One file, one format.  A loader is a function of bytes and does not know a virtual machine.
"""
