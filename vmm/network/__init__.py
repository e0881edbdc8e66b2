"""What network adapters are connected to, and the arithmetic that drivers leave to them."""
