"""References: whole other machines that run a table of rows, so that cases and engines can be checked against them."""
