"""What documents say: registers, ABI structures, device registers.  No I/O, no behaviour."""
