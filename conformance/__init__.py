"""Cases: rules of the architecture, as data, and their execution."""
