"""Doors for installations and homes: OSC and MQTT. Optional extras; each runs on a thread of its own.

A door that fails (no broker, a torn cable, nonsense on the wire) says so in the log and is open again later; the sound
does not notice.
"""
