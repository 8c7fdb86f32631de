"""What devices are: pure, without a clock, a reactor or I/O."""
