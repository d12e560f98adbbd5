"""The commands, one module for each thing that a person does."""
