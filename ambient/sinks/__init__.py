"""Where the sound goes: files, sound card, streams, and the encoders and protocol on the way."""
