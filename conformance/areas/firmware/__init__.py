"""Area "firmware": how a guest starts, and what it is told about its machine."""
