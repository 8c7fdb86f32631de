"""Boards that do not exist, over real Modbus TCP: the demo and the tests run on them."""
