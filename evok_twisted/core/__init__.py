"""What happens: scanning, events, commands, and the registry of devices they work on."""
