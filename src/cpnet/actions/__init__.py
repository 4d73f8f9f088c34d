"""What commands do that is longer than a command."""
