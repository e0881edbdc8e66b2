"""What a guest must not reach."""
