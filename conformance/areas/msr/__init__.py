"""Model-specific registers: values that must be refused, and values that must be kept."""
