"""The x86-64 architecture, as the Intel SDM and the AMD APM lay it out."""
