"""Features a host says it has, each in four layers, with the cause named where one does not hold."""
