"""Many hosts: their runs read, merged and compared; and how virtproof gets to them."""
