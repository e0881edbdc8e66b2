"""What the host claims about itself, proven by what its guests do not cost."""
