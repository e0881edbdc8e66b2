"""What runs inside a guest, and its build."""
