"""The work of commands, where it is longer than the file of a command."""
