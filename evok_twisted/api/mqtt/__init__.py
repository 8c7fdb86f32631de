"""MQTT: a unit tells a broker what it has and what changes, and takes commands from it."""
