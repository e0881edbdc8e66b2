"""The Intel 82540EM and 82545EM, as a driver sees them."""
