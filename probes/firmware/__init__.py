"""Tables that firmware leaves in memory, taken apart.  Pure functions of bytes; a table that lies raises ``Fault``."""
