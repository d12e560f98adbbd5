"""The log, the sequencer, registration, and the services around them."""
