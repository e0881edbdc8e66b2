"""Device models: one file, one device."""
